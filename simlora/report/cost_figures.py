"""Figures on money: cost by tenant, and the curves of other ways to serve one."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from simlora.cost.alternatives import LEAST_QUERIES, MOST_QUERIES, SHARED
from simlora.cost.analysis import Costs
from simlora.report.style import CYCLE, GREY, MARKERS, legend, new_figure

_MOST_MARKS = 400
_POINTS = 400


def cost_by_tenant(found: Costs) -> Figure:
    """A mark for each tenant's cost, by tier and from the dearest on, and one for its price."""
    figure = new_figure(3.0)
    axes = figure.subplots()
    rows = found.tenants.sort_values("cost_usd", ascending=False, kind="stable")
    shown = np.unique(np.linspace(1, len(rows), min(len(rows), _MOST_MARKS)).round().astype(int))
    rows = rows.iloc[shown - 1].assign(place=shown)
    for index, tier in enumerate(found.tiers.index):
        of_tier = rows[(rows["tier"] == tier) & (rows["cost_usd"] > 0)]
        axes.scatter(
            of_tier["place"],
            of_tier["cost_usd"],
            s=14,
            color=CYCLE[index % len(CYCLE)],
            marker=MARKERS[index % len(MARKERS)],
            label=f"cost, {tier}",
        )
    paying = rows[rows["price_usd"] > 0]
    if len(paying):
        axes.scatter(
            paying["place"], paying["price_usd"], marker="_", s=30, color=GREY, label="price"
        )
    axes.set_yscale("log")
    axes.set_xlabel("tenants, by cost")
    axes.set_ylabel("USD a month")
    axes.yaxis.set_major_formatter(FuncFormatter(_usd))
    legend(axes)
    return figure


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
    axes.set_xlabel("queries a month of one tenant")
    axes.set_ylabel("USD a month")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(_usd))
    legend(axes, 4)
    return figure


def _usd(amount: float, _: object) -> str:
    return f"${amount:,.0f}" if amount >= 1 or not amount else f"${amount:g}"
