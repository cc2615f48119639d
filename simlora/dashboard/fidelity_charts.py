"""Predicted over measured, drawn: a scatter for each metric, errors, and what lies outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import PERCENT, SECONDS, axis, coloured, log_axis, panel
from simlora.dashboard.fidelity_figures import Fidelity, FittedProfile
from simlora.dashboard.fidelity_words import METRICS, figure, graded
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped, unbroken
from simlora.report.style import BLUE, GREY, RED
from simlora.report.words import counted, duration
from simlora.validation.fidelity import percent

MOST_POINTS = 1500  # of a scatter
WITHIN, BEYOND = "within the profile's range", "beyond it"
_CARDS = 4
_BAND = 0.1  # relative, around the diagonal
_LOG_FROM = 5.0  # largest over least, from where on axes are logarithmic
_MANY = 12  # rows of a table, seen at once
_PLAIN = "format(datum.value, ',.3~r')"
_ERRORS = {
    "metric": "What was measured.",
    "runs": "All of them, or those of one kind.",
    "n": "How many were measured and predicted.",
    "median": "Median of |predicted - measured| / measured.",
    "mean": "Mean of |predicted - measured| / measured.",
    "bias": "Median of predicted / measured - 1: above 0 where predictions are too high.",
    "SMAPE": "Mean of 2 |predicted - measured| / (predicted + measured).",
}


def error_bars(table: pd.DataFrame, title: str, tip: str, more: Sequence[str] = ()) -> None:
    """Relative errors by `metric`, with how they are `told` and their `grade`; `more` columns are
    in the tooltips."""
    grades, colours = graded(table["grade"])
    chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("error:Q", axis=axis("relative error", PERCENT, tickCount=5)),
            y=alt.Y("metric:N", sort=None, axis=axis(None, labelLimit=150)),
            color=coloured("grade", grades, colours),
            tooltip=[
                "metric:N",
                alt.Tooltip("told:N", title="error"),
                *(f"{name}:N" for name in more),
            ],
        )
    )
    panel(title, tip, chart, 10 + 28 * len(table), grades)


def draw(found: Fidelity) -> None:
    """Everything that the page tells."""
    st.markdown(f"**{escaped(found.told)}.**")
    if found.notes:
        st.caption(escaped(". ".join(found.notes) + "."))
    _cards(found)
    metrics = list(dict.fromkeys(found.points["metric"]))
    metrics.sort(key=list(METRICS).index)
    _scatters(found, metrics[:_CARDS])
    if len(metrics) > _CARDS:
        with st.expander("Further metrics"):
            _scatters(found, metrics[_CARDS:])
    _errors(found.errors)
    _outside(found)
    if found.fitted is not None:
        _fitted(found.fitted)


def _cards(found: Fidelity) -> None:
    over_all = found.errors[found.errors["runs"] == "all"].head(_CARDS)
    with st.container(horizontal=True, gap="small", key="cards_fidelity"):
        for line in over_all.itertuples():
            name = METRICS[str(line.metric)][0].partition(",")[0]
            st.metric(
                f"Error: {name}",
                percent(float(line.median)),  # type: ignore[arg-type]
                help=f"{name}: median error, |predicted - measured| / measured, of {line.count}.",
                border=True,
                width=150,
            )
        st.metric(
            "Beyond range",
            f"{len(found.beyond):,} of {found.judged:,}",
            help="How much of what was predicted lies outside of the profile's measurements: trust "
            "comparisons there more than absolute figures.",
            border=True,
            width=150,
        )


def _scatters(found: Fidelity, metrics: list[str]) -> None:
    for first in range(0, len(metrics), 2):
        for place, metric in zip(
            st.columns(2, gap="medium"), metrics[first : first + 2], strict=False
        ):
            with place:
                _scatter(found.points[found.points["metric"] == metric], metric)


def _scatter(points: pd.DataFrame, metric: str) -> None:
    name, unit = METRICS[metric]
    drawn = points[points["predicted"] > 0]
    left_out = len(points) - len(drawn)
    if not len(drawn):
        return
    if len(drawn) > MOST_POINTS:
        drawn = drawn.sample(MOST_POINTS, random_state=0)
    drawn = drawn.assign(
        range=[BEYOND if beyond else WITHIN for beyond in drawn["beyond"]],
        outside=[beyond or "nothing" for beyond in drawn["beyond"]],
        told_predicted=[figure(metric, value) for value in drawn["predicted"]],
        told_measured=[figure(metric, value) for value in drawn["measured"]],
        error=[
            f"{100 * (p / m - 1):+.1f} %".replace("-", "−")
            for p, m in zip(drawn["predicted"], drawn["measured"], strict=True)
        ],
    )
    names = [kind for kind in (WITHIN, BEYOND) if kind in set(drawn["range"])]
    colours = [{WITHIN: BLUE, BEYOND: RED}[kind] for kind in names]
    values = [*drawn["predicted"], *drawn["measured"]]
    ends = [min(values) / 1.15, max(values) * 1.15]
    line = pd.DataFrame({"x": ends, "low": [(1 - _BAND) * x for x in ends]}).assign(
        high=[(1 + _BAND) * x for x in ends]
    )
    x, y = (_channel(side, values, unit) for side in ("measured", "predicted"))
    band = (
        alt.Chart(line)
        .mark_area(color=GREY, opacity=0.18, clip=True)
        .encode(x=alt.X("x:Q", **x), y=alt.Y("low:Q", **y), y2="high:Q")
    )
    diagonal = (
        alt.Chart(line)
        .mark_line(color=GREY, strokeWidth=1, clip=True)
        .encode(x=alt.X("x:Q", **x), y=alt.Y("x:Q", **y))
    )
    marks = (
        alt.Chart(drawn)
        .mark_point(filled=True, size=60 if len(drawn) < 100 else 24, opacity=0.75)
        .encode(
            x=alt.X("measured:Q", **x),
            y=alt.Y("predicted:Q", **y),
            color=coloured("range", names, colours),
            shape=alt.Shape(
                "range:N",
                scale=alt.Scale(domain=[WITHIN, BEYOND], range=["circle", "triangle-up"]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("told_predicted:N", title="predicted"),
                alt.Tooltip("told_measured:N", title="measured"),
                alt.Tooltip("error:N"),
                alt.Tooltip("group:N", title="kind"),
                alt.Tooltip("outside:N", title="beyond the range in"),
            ],
        )
    )
    log = ", log scales" if _is_log(values) else ""
    panel(
        f"{name} ({unit}{log})",
        "One mark a run or row. The line is a perfect prediction, the band 10 % around it."
        + (f" {left_out:,} are predicted as 0 and not drawn." if left_out else "")
        + (f" Of {len(points):,}, {MOST_POINTS:,} are drawn." if len(drawn) < len(points) else ""),
        alt.layer(band, diagonal, marks),
        240,
        names,
    )


def _is_log(values: list[float]) -> bool:
    return max(values) > _LOG_FROM * min(values)


def _channel(side: str, values: list[float], unit: str) -> dict[str, Any]:
    """Axis and scale of what was predicted or measured, the same for both."""
    expression = SECONDS if unit == "s" else _PLAIN
    if _is_log(values):
        return log_axis(side, values, expression)
    return {
        "axis": axis(side, expression, tickCount=4),
        "scale": alt.Scale(zero=False, nice=False, domain=[min(values) / 1.15, max(values) * 1.15]),
    }


def _errors(errors: pd.DataFrame) -> None:
    st.markdown("**Errors by metric**", help="Relative to what was measured.")
    rows = pd.DataFrame(
        {
            "metric": [METRICS[name][0] for name in errors["metric"]],
            "runs": errors["runs"],
            "n": errors["count"],
            **{
                head: 100 * errors[column]
                for head, column in (
                    ("median", "median"),
                    ("mean", "mean"),
                    ("bias", "bias"),
                    ("SMAPE", "smape"),
                )
            },
        }
    )
    show_table(
        rows,
        {
            head: st.column_config.NumberColumn(
                f"{head} (%)", format="%+.1f" if head == "bias" else "%.1f", help=about
            )
            if head in ("median", "mean", "bias", "SMAPE")
            else st.column_config.Column(help=about)
            for head, about in _ERRORS.items()
        },
        _MANY,
    )


def _outside(found: Fidelity) -> None:
    if not len(found.beyond):
        st.caption("Nothing of it lies outside of what the profile was measured in.")
        return
    st.markdown(
        f"**Outside of the profile's measurements: {len(found.beyond):,} of {found.judged:,}**",
        help="In what each goes beyond them, with its value where that is known and, of one "
        "profile, the range in brackets.",
    )
    if len(found.beyond) <= _MANY:  # whose cells wrap
        st.table(found.beyond.set_index("run"))
        return
    show_table(
        found.beyond,
        {
            "run": st.column_config.TextColumn(help="As in the tooltips above."),
            "beyond the range in": st.column_config.TextColumn(help="Features of the range."),
        },
        _MANY,
    )


def _fitted(fitted: FittedProfile) -> None:
    st.download_button(
        "Keep the fitted profile",
        fitted.text,
        "fitted.json",
        "application/json",
        icon=":material/download:",
        help=f"Fitted to {counted(fitted.rows, 'measurement')}; a scenario uses it with timing: "
        "{profile: fitted.json}.",
    )
    for warning in fitted.warnings:
        st.caption(escaped(f"{warning}."))
    with st.expander("The fitted figures"):
        st.caption(
            "Terms of the timing form: the time of a step, or of one token, sequence, adapter or "
            "slot of it, and its relative standard error or why there is none."
        )
        table = fitted.figures.assign(
            value=[unbroken(duration(one)) for one in fitted.figures["value_s"]],
            known=[unbroken(told.replace("%", " %")) for told in fitted.figures["known"]],
        )
        st.table(table[["figure", "value", "known"]].set_index("figure"))
