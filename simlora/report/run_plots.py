"""Which figures the report of one run shows, and what their captions say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from simlora.report.asked import Asked
from simlora.report.measured import from_outside
from simlora.report.plot import Plot
from simlora.results.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LATENCY = (
    "Percentiles of completed requests. Where values span orders of magnitude, the axis is "
    "logarithmic."
)
_PROMISED = " A green bar is what a tier promises for its p99."
_PHASES = (
    "Left: the phases of a request add up to its end-to-end time. Right: the 99th percentile of "
    "each phase on its own; these do not add up, and a phase without a mark was 0."
)
_LOAD = "The whole fleet. Lines are means, bands the least and the most within each interval."
_SEEN_LOAD = (
    "As the client saw it. Lines are means, bands the least and the most within each interval."
)
_SEEN_PHASES = (
    "As the client saw it: the time to the first token is the network's and all of the server's "
    "until then. "
)
_POOLS = (
    "Requests by when they arrived, those that were turned away before left out; running requests "
    "are means of each interval."
)
_MEMORY = (
    "The whole fleet, without the base model's weights. Adapters stay after use for as long as "
    "nothing else needs their pages."
)
_ADAPTERS = (
    "Where a request's adapter was when the request reached its replica: hot in GPU memory, warm "
    "in host memory, on local disk (nvme) or in object storage."
)
_TENANTS = (
    "One mark a tenant; both axes are logarithmic. The p99 of a tenant with few requests is its "
    "slowest one."
)
_ORDER = (
    "Tenants from the worst to the best. Where they are many, a curve is a tier's tenants, in each "
    "panel in an order of its own."
)


def plots_of(result: Result, asked: Asked | None) -> list[Plot]:
    """Those that have something to show, without those on money. `asked`: the requests, where the
    report tells of them over time."""
    from simlora.report import figures, tenant_figures
    from simlora.report.over_time import figures_over_time
    from simlora.report.pool_figure import has_mixed_load, load_by_pool

    outside = from_outside(result.summary)
    chosen: list[tuple[str, str, Callable[[Result], Figure]]] = []
    if result.summary["requests"]["completed"]:
        promised = any(tier["sla"] for tier in result.summary["tiers"].values())
        caption = _LATENCY + _PROMISED if promised else _LATENCY
        chosen.append(("Latency by tier", caption, figures.latency_by_tier))
        caption = _SEEN_PHASES + _PHASES if outside else _PHASES
        chosen.append(("Where the time goes", caption, figures.phases_by_tier))
        chosen += figures_over_time(result, asked) if asked is not None else []
    if len(result.timeline):
        caption = _SEEN_LOAD if outside else _LOAD
        chosen.append(("Load over time", caption, figures.load_over_time))
        if has_mixed_load(result) and not outside:
            chosen.append(("Load by pool", _POOLS, load_by_pool))
        if not outside:
            chosen.append(("Memory over time", _MEMORY, figures.memory_over_time))
        if result.summary["adapters"]["lookups"]:
            chosen.append(("Adapters", _ADAPTERS, figures.adapters))
    if result.tenants["ttft_p99_s"].notna().any():
        chosen.append(("Tenants in order", _ORDER, tenant_figures.tenants_in_order))
        chosen.append(("Tenants by load", _TENANTS, tenant_figures.tenants_by_load))
    return [Plot(title, caption, partial(draw, result)) for title, caption, draw in chosen]
