"""A comparison drawn: differences with their intervals, distance from the bound, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import (
    PERCENT,
    axis,
    coloured,
    log_axis,
    nothing,
    panel,
    run_colours,
    table_px,
)
from simlora.dashboard.study_tasks import Policies
from simlora.dashboard.text import escaped
from simlora.planning.bound import BELADY, distances, is_bound
from simlora.planning.capacity_curves import CapacityCurves
from simlora.planning.compare import Comparison, Line
from simlora.planning.paired import Verdict
from simlora.planning.ranks import buckets_by_rank
from simlora.report.comparison_curves import capacity_caption, ranks_caption
from simlora.report.comparison_words import (
    MARKS,
    basis,
    change,
    change_unit,
    figure,
    same_everywhere,
    scale_of,
)
from simlora.report.style import BLUE, GREEN, GREY, RED
from simlora.report.words import share, size, usd

_WORST_PERCENT = 300.0  # a change beyond it says "much", and would flatten all others
_VERDICTS = {
    Verdict.BETTER: ("better", GREEN),
    Verdict.WORSE: ("worse", RED),
    Verdict.UNCLEAR: ("no difference shown", GREY),
    Verdict.SAME: ("the same", GREY),
    Verdict.ONE_REPLICATION: ("one replication", GREY),
}


def draw(found: Policies) -> None:
    """Everything that a comparison tells."""
    compared = found.compared
    hidden = same_everywhere(compared)
    shown = [metric for metric in compared.metrics if metric not in hidden]
    if not shown:
        st.success("Every figure is the same under all of these policies, in every replication.")
    else:
        _table(compared, shown)
        st.caption(escaped(_basis(compared)))
        if hidden:
            names = ", ".join(metric.title for metric in hidden)
            st.caption(escaped(f"The same everywhere: {names}."))
        _differences(compared, shown)
    _bound(compared)
    if found.curves is not None:
        _curves(found.curves)
    _ranks(compared)


def _table(compared: Comparison, metrics: Sequence[Any]) -> None:
    """One row a metric, two columns a variant: its mean, and its difference with the verdict."""
    names = [variant.name for variant in compared.variants]
    rows = []
    for metric in metrics:
        row = {"figure": metric.title}
        for line in compared.of_metric(metric):
            row[line.variant] = _cell(line)
        rows.append(row)
    columns: dict[str, Any] = {
        "figure": st.column_config.TextColumn(
            "figure", pinned=True, width=175, help="With its unit, as the command line names it."
        )
    }
    for index, name in enumerate(names):
        columns[name] = st.column_config.TextColumn(
            f"{name} (baseline)" if not index else name,
            width=120 if not index else 180,
            help="Mean over replications"
            + (
                "."
                if not index
                else ", its verdict, and the mean difference to the baseline ± its 95 % interval."
            ),
        )
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        width="stretch",
        column_config=columns,
        height=table_px(len(rows)),
    )


def _basis(compared: Comparison) -> str:
    """What the verdicts rest on."""
    if compared.variants[0].scenario.workload.trace is None:
        return basis(compared)
    return (
        "Every policy replayed the same trace, once: the differences (?) are those on this trace, "
        "and on another they may be others."
    )


def _cell(line: Line) -> str:
    if line.verdict is None:
        return figure(line)
    told = change(line)
    unit = change_unit(line.metric) if told and not told.startswith("×") else ""
    return f"{figure(line)}  {MARKS[line.verdict]} {told} {unit}".rstrip()


def _differences(compared: Comparison, metrics: Sequence[Any]) -> None:
    """The difference of a figure to the baseline's, with its interval."""
    titles = {metric.title: metric for metric in metrics}
    title = "Difference to the baseline"
    about = (
        "Mean difference within replications, with its 95 % t-interval. An interval that leaves "
        "out 0 is more than chance; verdicts are corrected for the number of policies (Holm)."
    )
    chosen = st.selectbox(
        "Figure",
        list(titles),
        index=1 if len(titles) > 1 else 0,
        key="difference_of",
        bind="query-params",
        help="Which figure's differences are drawn.",
    )
    rows: list[dict[str, Any]] = []
    for line in compared.of_metric(titles[chosen])[1:]:
        scale = scale_of(line)
        difference = line.difference
        if scale is None or difference is None or difference.mean is None or line.verdict is None:
            continue
        low = difference.mean if difference.low is None else difference.low
        high = difference.mean if difference.high is None else difference.high
        rows.append(
            {
                "policy": line.variant,
                "mean": _cut(scale * difference.mean),
                "low": _cut(scale * low),
                "high": _cut(scale * high),
                "verdict": _VERDICTS.get(line.verdict, ("not measured", GREY))[0],
                "told": f"{change(line) or '0'} {change_unit(line.metric)}",
            }
        )
    if not rows:
        nothing(title, about, "There is no difference to draw for this figure.")
        return
    unit = "percentage points" if change_unit(titles[chosen]) == "pt" else "%"
    known = dict(_VERDICTS.values())
    verdicts = list(dict.fromkeys(row["verdict"] for row in rows))
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("policy:N", sort=None, axis=axis(None, labelLimit=110)),
        color=coloured("verdict", verdicts, [known.get(name, GREY) for name in verdicts]),
        tooltip=["policy:N", "verdict:N", alt.Tooltip("told:N", title="difference")],
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=GREY, strokeDash=[4, 3])
    label = f"difference to {compared.baseline} ({unit})"
    chart = alt.layer(
        zero.encode(x=alt.X("zero:Q", axis=axis(label, tickCount=6))),
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(x="mean:Q"),
    )
    panel(f"{title}: {chosen}", about, chart, 30 + 30 * len(rows), verdicts)


def _cut(percent: float) -> float:
    return max(-_WORST_PERCENT, min(percent, _WORST_PERCENT))


def _bound(compared: Comparison) -> None:
    """The hit ratio of each policy beside that of the bound."""
    found = [line for line in distances(compared) if line.hit_ratio.mean is not None]
    if not found:
        return
    rows = [
        {
            "policy": line.variant,
            "hit": line.hit_ratio.mean,
            "low": line.hit_ratio.mean if line.hit_ratio.low is None else line.hit_ratio.low,
            "high": line.hit_ratio.mean if line.hit_ratio.high is None else line.hit_ratio.high,
            "kind": "bound" if line.is_bound else "policy",
            "told": share(line.hit_ratio.mean),
            "distance": "—"
            if line.distance is None or line.distance.mean is None
            else f"{100 * line.distance.mean:+.1f} percentage points".replace("-", "−"),
        }
        for line in found
    ]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("policy:N", sort=None, axis=axis(None, labelLimit=110)),
        tooltip=[
            "policy:N",
            alt.Tooltip("told:N", title="found hot"),
            alt.Tooltip("distance:N", title="distance from the bound"),
        ],
    )
    chart = alt.layer(
        base.mark_bar(opacity=0.85).encode(
            x=alt.X("hit:Q", axis=axis("adapter lookups found hot", PERCENT, tickCount=5)),
            color=coloured("kind", ["policy", "bound"], [BLUE, GREY]),
        ),
        base.mark_rule(strokeWidth=2, color=RED).encode(x="low:Q", x2="high:Q"),
    )
    panel(
        "Hit ratio beside Belady's bound",
        "Share of adapter lookups found in GPU memory, with its 95 % interval (red). Belady evicts "
        "what is asked for the latest, which takes knowledge of the future. The bound holds for "
        "adapters of one size: a server cannot evict what is in use.",
        chart,
        10 + 30 * len(rows),
        ["policy", "bound"],
    )


def _curves(curves: CapacityCurves) -> None:
    """Misses and seconds of reloading over the places for adapters."""
    named = {
        curve.policy: f"{BELADY} (bound)" if curve.policy == BELADY else curve.policy
        for curve in curves.curves
    }
    table = pd.DataFrame(
        [
            {
                "policy": named[curve.policy],
                "places": place,
                "miss": miss,
                "reload_s": reload_s,
                "told": share(miss),
                "price": f"{usd(place * curves.usd_month_per_place)} a month",
            }
            for curve in curves.curves
            for place, miss, reload_s in zip(
                curves.places, curve.miss_ratio, curve.reload_s_per_1000, strict=True
            )
        ]
    )
    names = list(named.values())
    colours = [*run_colours(names[:-1]), GREY]
    own = alt.Chart(pd.DataFrame({"places": list(curves.own)}))
    left, right = st.columns(2, gap="medium")
    for column, field, title, label, expression in (
        (left, "miss", "Miss-ratio curves", "lookups not found hot", PERCENT),
        (right, "reload_s", "Waiting for reloads", "seconds per 1,000 requests", None),
    ):
        x = alt.X(
            "places:Q", **log_axis("places for adapters in GPU memory (log scale)", curves.places)
        )
        lines = (
            alt.Chart(table)
            .mark_line(point=alt.OverlayMarkDef(size=28))
            .encode(
                x=x,
                y=alt.Y(f"{field}:Q", axis=axis(label, expression, tickCount=5)),
                color=coloured("policy", names, colours),
                tooltip=[
                    "policy:N",
                    "places:Q",
                    alt.Tooltip("told:N", title="misses"),
                    alt.Tooltip("reload_s:Q", format=",.3~r", title="reload s per 1,000"),
                    alt.Tooltip("price:N", title="that memory"),
                ],
            )
        )
        marks = own.mark_rule(color=GREY, strokeDash=[2, 3], strokeWidth=2).encode(
            x="places:Q", tooltip=[alt.Tooltip("places:Q", title="the scenario's places")]
        )
        with column:
            panel(
                title,
                "One cache on its own that sees all requests in order and loads in no time. The "
                "dotted line is the scenario's own size. A place takes "
                f"{size(curves.stream.place_bytes)}, a mean adapter.",
                lines + marks if curves.own else lines,
                190,
                names,
            )
    with st.expander("What the curves rest on"):
        st.markdown(escaped(capacity_caption(curves)))


def _ranks(compared: Comparison) -> None:
    """Whom a policy serves: the hit ratio by rank of the tenant."""
    buckets = buckets_by_rank(compared)
    if not buckets:
        return
    table = pd.DataFrame(
        [
            {
                "policy": name,
                "rank": (bucket.first * bucket.last) ** 0.5,
                "ranks": f"{bucket.first:,}"
                if bucket.first == bucket.last
                else f"{bucket.first:,} to {bucket.last:,}",
                "hit": bucket.hit_ratio,
                "told": share(bucket.hit_ratio),
            }
            for name, of_one in buckets.items()
            for bucket in of_one
            if bucket.hit_ratio is not None
        ]
    )
    names = list(buckets)
    bounds = [variant.name for variant in compared.variants if is_bound(variant.scenario)]
    plain = iter(run_colours([name for name in names if name not in bounds]))
    colours = [GREY if name in bounds else next(plain) for name in names]
    chart = (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=28))
        .encode(
            x=alt.X(
                "rank:Q",
                **log_axis("rank of the tenant, the busiest first (log scale)", table["rank"]),
            ),
            y=alt.Y("hit:Q", axis=axis("found hot", PERCENT, tickCount=5)),
            color=coloured("policy", names, colours),
            tooltip=["policy:N", "ranks:N", alt.Tooltip("told:N", title="found hot")],
        )
    )
    panel(
        "Whom a policy serves",
        ranks_caption(buckets, len(compared.seeds)),
        chart,
        190,
        names,
    )
