"""The key figures of a run, each with its unit and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from simlora.report.words import duration, number, share, usd

SAME = "as pinned"

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kpi:
    """One figure: `told` puts it into words with its unit; None is no figure."""

    label: str
    of: Callable[[Summary], float | None]
    told: Callable[[float | None], str]
    help: str
    lower_is_better: bool = True


def _within_promises(summary: Summary) -> float | None:
    """The worst tier's attainment."""
    known = [
        tier["sla_attainment"]
        for tier in summary["tiers"].values()
        if tier["sla_attainment"] is not None
    ]
    return min(known, default=None)


def _completed(summary: Summary) -> float | None:
    requests = summary["requests"]
    return requests["completed"] / requests["offered"] if requests["offered"] else None


KPIS: Sequence[Kpi] = (
    Kpi(
        "TTFT p50",
        lambda summary: summary["latency"]["ttft_s"]["p50"],
        duration,
        "Time to first token, median of all completed requests.",
    ),
    Kpi(
        "TTFT p99",
        lambda summary: summary["latency"]["ttft_s"]["p99"],
        duration,
        "Time to first token that 99 % of the completed requests kept.",
    ),
    Kpi(
        "TPOT p50",
        lambda summary: summary["latency"]["tpot_s"]["p50"],
        duration,
        "Time per output token after the first one, median over requests.",
    ),
    Kpi(
        "E2E p99",
        lambda summary: summary["latency"]["e2e_s"]["p99"],
        duration,
        "From arrival to the last token, for 99 % of the completed requests.",
    ),
    Kpi(
        "Found hot",
        lambda summary: summary["adapters"]["hit_ratio"],
        share,
        "Share of adapter lookups that found the adapter in GPU memory.",
        lower_is_better=False,
    ),
    Kpi(
        "Within promises",
        _within_promises,
        share,
        "Share of requests within every bound that their tier promises; of the tier that fares "
        "worst.",
        lower_is_better=False,
    ),
    Kpi(
        "Completed",
        _completed,
        share,
        "Share of the offered requests that were answered in full.",
        lower_is_better=False,
    ),
    Kpi(
        "Output tokens/s",
        lambda summary: summary["throughput"]["output_tokens_per_s"],
        number,
        "Output tokens per second of completed requests.",
        lower_is_better=False,
    ),
    Kpi(
        "Fleet a month",
        lambda summary: summary["cost"]["fleet_usd_per_month"],
        usd,
        "USD for 720 hours of the replicas that were rented on average.",
    ),
    Kpi(
        "1M tokens out",
        lambda summary: summary["cost"]["usd_per_million_output_tokens"],
        usd,
        "USD of the fleet for each million output tokens made in this run.",
    ),
)


def show_kpis(summary: Summary, pinned: Summary | None = None, suffix: str = "") -> None:
    """Cards in a row that wraps; beside a pinned run each tells its change in percent."""
    with st.container(horizontal=True, gap="small", key=f"cards_kpis{suffix}"):
        for kpi in KPIS:
            value = kpi.of(summary)
            before = None if pinned is None else kpi.of(pinned)
            change = None if pinned is None else _change(value, before)
            st.metric(
                kpi.label,
                kpi.told(value),
                change,
                delta_color="off"
                if change == SAME
                else "inverse"
                if kpi.lower_is_better
                else "normal",
                delta_arrow="off" if change == SAME else "auto",
                help=kpi.help
                + ("" if pinned is None else f" The pinned run has {kpi.told(before)}."),
                border=True,
                width=150,
            )


def _change(value: float | None, before: float | None) -> str | None:
    """`+12 %`, with the sign that tells the arrow's direction; None where no percentage tells it,
    because one of the two is not there or the pinned one is 0."""
    if value == before:
        return SAME
    if value is None or not before:
        return None
    percent = 100 * (value / before - 1)
    if abs(percent) < 0.05:
        return SAME
    return f"{percent:+,.0f} %" if abs(percent) >= 10 else f"{percent:+.1f} %"
