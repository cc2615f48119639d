"""Differences to the baseline, with their intervals; what goes far beyond is cut and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import axis, coloured, nothing, panel
from simlora.planning.compare import Comparison, Line
from simlora.planning.paired import Verdict
from simlora.report.comparison_words import change, change_unit, scale_of
from simlora.report.style import GREEN, GREY, RED

WORST = 300.0  # percent, or percentage points: a change beyond it would flatten all others
_VERDICTS = {
    Verdict.BETTER: ("better", GREEN),
    Verdict.WORSE: ("worse", RED),
    Verdict.UNCLEAR: ("no difference shown", GREY),
    Verdict.SAME: ("the same", GREY),
    Verdict.ONE_REPLICATION: ("one replication", GREY),
}
_NOT_MEASURED = ("not measured", GREY)
_ROW_PX = 34  # with room for a label above the interval


def differences(compared: Comparison, metrics: Sequence[Any]) -> None:
    """The difference of a figure to the baseline's, with its interval."""
    titles = {metric.title: metric for metric in metrics}
    title = "Difference to the baseline"
    about = (
        "Mean difference within replications, with its 95 % t-interval. An interval that leaves "
        "out 0 is more than chance; verdicts are corrected for the number of policies (Holm). "
        f"What goes beyond ±{WORST:.0f} is cut there: an arrow, with how far it goes."
    )
    chosen = st.selectbox(
        "Figure",
        list(titles),
        index=1 if len(titles) > 1 else 0,
        key="difference_of",
        bind="query-params",
        help="Which figure's differences are drawn.",
    )
    lines = compared.of_metric(titles[chosen])[1:]
    rows = [row for row in map(difference_row, lines) if row is not None]
    if not rows:
        nothing(title, about, "There is no difference to draw for this figure.")
        return
    unit = "percentage points" if change_unit(titles[chosen]) == "pt" else "%"
    label = f"difference to {compared.baseline} ({unit})"
    known = dict((*_VERDICTS.values(), _NOT_MEASURED))
    verdicts = list(dict.fromkeys(row["verdict"] for row in rows))
    colour = coloured("verdict", verdicts, [known[name] for name in verdicts])
    panel(
        f"{title}: {chosen}", about, _chart(rows, label, colour), 30 + _ROW_PX * len(rows), verdicts
    )


def difference_row(line: Line) -> dict[str, Any] | None:
    """What is drawn of a policy; None if its difference is not known. `low`, `mean` and `high` are
    within ±WORST, `mean` None if it is not; `below` and `above` tell what lies beyond."""
    scale, difference = scale_of(line), line.difference
    if scale is None or difference is None or difference.mean is None or line.verdict is None:
        return None
    mean = scale * difference.mean
    low = mean if difference.low is None else scale * difference.low
    high = mean if difference.high is None else scale * difference.high
    unit = change_unit(line.metric)
    told = f"{change(line) or '0'} {unit}"
    if change(line).startswith("×"):
        told = change(line)
    return {
        "policy": line.variant,
        "mean": mean if abs(mean) <= WORST else None,
        "low": max(-WORST, min(low, WORST)),
        "high": max(-WORST, min(high, WORST)),
        "below": _beyond(mean < -WORST, low < -WORST, low, told, unit),
        "above": _beyond(mean > WORST, high > WORST, high, told, unit),
        "verdict": _VERDICTS.get(line.verdict, _NOT_MEASURED)[0],
        "told": told,
    }


def _beyond(mean_is: bool, end_is: bool, end: float, told: str, unit: str) -> str:
    """What is said at a cut: the difference itself if it lies beyond, else how far the interval
    goes; nothing where nothing is cut."""
    if mean_is:
        return told
    return f"to {end:+,.0f} {unit}".replace("-", "−") if end_is else ""


def _chart(rows: Sequence[Mapping[str, Any]], label: str, colour: alt.Color) -> Any:
    table = pd.DataFrame(rows)
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=GREY, strokeDash=[4, 3])
    base = alt.Chart(table).encode(
        y=alt.Y("policy:N", sort=None, axis=axis(None, labelLimit=110)),
        color=colour,
        tooltip=["policy:N", "verdict:N", alt.Tooltip("told:N", title="difference")],
    )
    layers = [
        zero.encode(x=alt.X("zero:Q", axis=axis(label, tickCount=6))),
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.transform_filter("isValid(datum.mean)")
        .mark_point(filled=True, size=80, opacity=1)
        .encode(x="mean:Q"),
    ]
    side: Literal["left", "right"]
    for beyond, end, side in (("below", "low", "left"), ("above", "high", "right")):
        if not table[beyond].any():
            continue
        cut = base.transform_filter(f"datum.{beyond} != ''").encode(x=f"{end}:Q")
        layers += [
            cut.mark_point(filled=True, shape=f"triangle-{side}", size=110, opacity=1),
            cut.mark_text(align=side, dy=-11).encode(text=f"{beyond}:N", color=alt.Undefined),
        ]
    return alt.layer(*layers)
