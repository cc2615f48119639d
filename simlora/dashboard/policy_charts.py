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
    panel,
    run_colours,
)
from simlora.dashboard.policy_differences import differences
from simlora.dashboard.study_tasks import Policies
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped
from simlora.planning.bound import BELADY, distances, is_bound
from simlora.planning.capacity_curves import CapacityCurves
from simlora.planning.compare import Comparison, Line
from simlora.planning.ranks import buckets_by_rank
from simlora.report.comparison_curves import capacity_caption, ranks_caption
from simlora.report.comparison_words import (
    MARKS,
    basis,
    change,
    change_unit,
    figure,
    same_everywhere,
)
from simlora.report.style import BLUE, GREY, RED
from simlora.report.words import share, size, usd


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
        differences(compared, shown)
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
    show_table(pd.DataFrame(rows), columns)


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
