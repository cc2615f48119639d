"""A trace drawn: what it holds in figures, popularity, rates and lengths."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from simlora.dashboard.charts import PERCENT, axis, coloured, log_axis, panel, time_axis
from simlora.dashboard.text import escaped
from simlora.dashboard.trace_figures import TraceFigures
from simlora.report.style import BLUE, YELLOW
from simlora.report.words import duration, number, share


def draw(found: TraceFigures) -> None:
    """Everything that the page tells."""
    _figures(found.described)
    st.caption(escaped("; ".join((f"Read as {found.format_name}", *found.notes)) + "."))
    left, right = st.columns(2, gap="medium")
    with left:
        _popularity(found)
        _lengths(found)
    with right:
        _rates(found)
        _facts(found.described)


def _figures(described: dict[str, Any]) -> None:
    tenants, rate = described["tenants"], described["rate_rps"]
    cards = (
        ("Requests", f"{described['requests']:,}", "Rows of the trace."),
        (
            "Span",
            duration(described["span_s"]),
            "From the first arrival to the last one.",
        ),
        ("Requests/s", number(rate), "Mean rate over the span."),
        (
            "CV of gaps",
            number(described["gap_cv"]),
            (
                "Coefficient of variation of the gaps between arrivals: 1 is Poisson, more is "
                "burstier. No unit."
            ),
        ),
        ("Tenants", f"{tenants['count']:,}", "Distinct tenants that send."),
        (
            "Largest tenant",
            share(tenants["largest_share"]),
            f"Share of the requests of {tenants['largest']}.",
        ),
        (
            "Prompt p50",
            f"{described['prompt_tokens']['p50']:,} tok",
            "Median prompt length, tokens.",
        ),
        (
            "Output p50",
            f"{described['output_tokens']['p50']:,} tok",
            "Median answer length, tokens.",
        ),
    )
    with st.container(horizontal=True, gap="small", key="cards_trace"):
        for label, value, about in cards:
            st.metric(label, value, help=about, border=True, width=150)


def _popularity(found: TraceFigures) -> None:
    table = found.ranks.assign(told=[share(value) for value in found.ranks["share"]])
    chart = (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=22, color=BLUE), color=BLUE)
        .encode(
            x=alt.X(
                "rank:Q",
                **log_axis("rank of the tenant (log scale)", table["rank"]),
            ),
            y=alt.Y(
                "share:Q",
                **log_axis("share of requests (log scale)", table["share"], PERCENT),
            ),
            tooltip=["tenant:N", "rank:Q", alt.Tooltip("told:N", title="share of requests")],
        )
    )
    panel(
        "Popularity of tenants",
        "Share of the requests by rank, the busiest tenant first. A straight line falling at 45 "
        "degrees is a Zipf law of exponent 1.",
        chart,
        190,
    )


def _rates(found: TraceFigures) -> None:
    words, unit_s = time_axis(float(found.described["span_s"]))
    table = found.rates.assign(time=found.rates["time_s"] / unit_s)
    chart = (
        alt.Chart(table)
        .mark_area(line={"color": BLUE}, color=BLUE, opacity=0.3, interpolate="step-after")
        .encode(
            x=alt.X("time:Q", axis=axis(words.replace("simulated time", "time"), tickCount=6)),
            y=alt.Y("rate_rps:Q", axis=axis("requests/s", tickCount=5)),
            tooltip=[
                alt.Tooltip("time_s:Q", format=",.0f", title="time (s)"),
                alt.Tooltip("rate_rps:Q", format=",.3~r", title="requests/s"),
            ],
        )
    )
    panel("Rate over time", "Requests that arrive per second, in equal bins of time.", chart, 190)


def _lengths(found: TraceFigures) -> None:
    sides = ["prompt tokens", "output tokens"]
    table = found.lengths[found.lengths["share"] > 0].assign(
        told=lambda rows: [share(value) for value in rows["share"]],
        bin=lambda rows: [
            f"{low:,}" if high - low == 1 else f"{low:,} to {high - 1:,}"
            for low, high in zip(rows["low"], rows["high"], strict=True)
        ],
        middle=lambda rows: (rows["low"] * rows["high"]) ** 0.5,
    )
    chart = (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(
            x=alt.X(
                "middle:Q",
                **log_axis("tokens (log scale)", table["middle"]),
            ),
            y=alt.Y("share:Q", axis=axis("share of requests", PERCENT, tickCount=5)),
            color=coloured("side", sides, [BLUE, YELLOW]),
            tooltip=["side:N", "bin:N", alt.Tooltip("told:N", title="share of requests")],
        )
    )
    panel(
        "Lengths of prompts and answers",
        "Share of requests by length, in bins that grow by the square root of two.",
        chart,
        190,
        sides,
    )


def _facts(described: dict[str, Any]) -> None:
    """What the charts do not show."""
    rows = []
    for side in ("prompt", "output"):
        lengths = described[f"{side}_tokens"]
        ranks = ", ".join(f"{rank} {lengths[rank]:,}" for rank in ("p50", "p95", "p99", "max"))
        rows.append(f"**{side.capitalize()} tokens**: mean {lengths['mean']:,.1f}, {ranks}.")
    rows.append(
        f"**Largest ten tenants**: {share(described['tenants']['largest_ten_share'])} of the "
        "requests."
    )
    if described["session_share"]:
        rows.append(f"**In sessions**: {share(described['session_share'])} of the requests.")
    prefix = described["prefix_cache"]
    if prefix is not None:
        rows.append(
            f"**Reusable prompt**: {share(prefix['hit_share_per_adapter'])} of the prompt tokens "
            f"within an adapter, {share(prefix['hit_share_if_shared'])} if shared by all "
            f"(blocks of {prefix['block_tokens']} tokens)."
        )
    st.markdown(
        "**More about it**",
        help="Lengths are tokens: their mean and the percentiles. Tenants are by their share of "
        "the requests.",
    )
    st.markdown("\n".join(f"- {row}" for row in rows))
