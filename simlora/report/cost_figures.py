"""Figures on money: cost by tenant, and the curves of other ways to serve one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.cost.alternatives import LEAST_QUERIES, MOST_QUERIES, SHARED
from simlora.cost.analysis import Costs
from simlora.report.figures import log_counts
from simlora.report.style import CYCLE, GREY, MARKERS, legend, new_figure

_MOST_MARKS = 400
_POINTS = 400


def cost_by_tenant(found: Costs) -> Figure:
    """A mark for each tenant's cost, by tier and from the dearest on, and one for its price."""
    figure = new_figure(3.0)
    axes = figure.subplots()
    rows = found.tenants[found.tenants["cost_usd"] > 0]
    rows = rows.sort_values("cost_usd", ascending=False, kind="stable")
    rows = rows.assign(place=np.arange(1, len(rows) + 1))
    rows = pd.concat([_some(rows[rows["tier"] == tier]) for tier in found.tiers.index])
    for index, tier in enumerate(found.tiers.index):
        of_tier = rows[rows["tier"] == tier]
        axes.scatter(
            of_tier["place"],
            of_tier["cost_usd"],
            s=14,
            color=CYCLE[index % len(CYCLE)],
            marker=MARKERS[index % len(MARKERS)],
            linewidths=0,
            label=f"cost, {tier}",
            zorder=2 + 1 / (1 + len(of_tier)),  # the many below the few
        )
    paying = rows[rows["price_usd"] > 0]
    if len(paying):
        axes.scatter(
            paying["place"], paying["price_usd"], marker="_", s=30, color=GREY, label="price"
        )
    axes.set_yscale("log")
    axes.set_title("cost of a tenant")
    axes.set_xlabel("tenants, the dearest first")
    axes.set_ylabel("USD a month")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:,.0f}"))
    log_counts(axes.yaxis)  # the same ticks, in dollars
    axes.yaxis.set_major_formatter(FuncFormatter(_usd))
    legend(axes)
    return figure


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """The tenants of a tier that have a mark, evenly from the dearest to the cheapest."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_MARKS)).round().astype(int)
    return rows.iloc[np.unique(places)]


def break_even_curves(found: Costs) -> Figure:
    """A curve for each way, the cheapest on a broad band, and the run's tenants on shared LoRA."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    queries = np.geomspace(LEAST_QUERIES, MOST_QUERIES, _POINTS)
    drawn = {name: [way(count) for count in queries] for name, way in found.ways.items()}
    least = np.min(list(drawn.values()), axis=0)
    for index, (name, usd) in enumerate(drawn.items()):
        colour = CYCLE[index % len(CYCLE)]
        style = "-" if index < len(CYCLE) else "--"
        axes.plot(queries, usd, color=colour, ls=style, label=name)
        axes.plot(
            queries, np.where(np.array(usd) <= least, usd, np.nan), color=colour, lw=4, alpha=0.35
        )
    asked = [count for count in found.demand.queries if count > 0]
    shared = [found.ways[SHARED](count) for count in asked]
    axes.scatter(asked, shared, s=9, color=GREY, zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(0.01, least[least > 0].min(initial=1.0)))
    axes.set_title("cost of one tenant, by way of serving it")
    axes.set_xlabel("queries a month of one tenant")
    axes.set_ylabel("USD a month")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(_usd))
    legend(axes, 4)
    return figure


def _usd(amount: float, _: object) -> str:
    return f"${amount:,.0f}" if amount >= 1 or not amount else f"${amount:g}"
