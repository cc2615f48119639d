"""The figures of a report that are about single tenants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from simlora.report.figures import log_counts, log_seconds, shown_tiers
from simlora.report.style import BLUE, CYCLE, GREEN, MARKERS, new_figure
from simlora.report.words import share
from simlora.results.result import Result

_NAMED_TENANTS = 30  # up to so many have a line of their own
_NAME = 28  # longest part of a name that is shown
_MOST_POINTS = 300  # of a line over tenants
_MANY_TENANTS = 2000  # beyond it, points are drawn as an image
_LEAST_ATTAINMENT = 0.9  # where the axis begins, if nobody is below


def tenants_by_load(result: Result) -> Figure:
    """Each tenant's requests against its p99 TTFT."""
    tenants = result.tenants
    figure = new_figure(3.6)
    axes = figure.subplots()
    for index, (name, tier) in enumerate(shown_tiers(result)):
        rows = tenants[(tenants["tier"] == name) & tenants["ttft_p99_s"].notna()]
        axes.scatter(
            rows["offered"],
            rows["ttft_p99_s"],
            s=16,
            alpha=0.7,
            color=_colour(index),
            marker=_marker(index),
            linewidths=0,
            label=name,
            zorder=2 + 1 / (1 + tier["requests"]["offered"]),  # the many below the few
            rasterized=len(tenants) > _MANY_TENANTS,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("p99 time to first token")
    axes.set_xlabel("requests of the tenant")
    log_seconds(axes.yaxis)
    log_counts(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def tenants_in_order(result: Result) -> Figure:
    """Each tenant's p99 TTFT, and its attainment where tiers promise something, from the worst
    tenant to the best: a line a tenant if they are few, else a curve a tier."""
    tenants = result.tenants
    columns = ["ttft_p99_s"]
    if "sla_attainment" in tenants and tenants["sla_attainment"].notna().any():
        columns.append("sla_attainment")
    tenants = tenants[tenants[columns].notna().any(axis=1)]
    tiers = shown_tiers(result)
    if len(tenants) <= _NAMED_TENANTS:
        return _named(tenants, tiers, columns)
    return _curves(tenants, tiers, columns)


def _named(
    tenants: pd.DataFrame, tiers: list[tuple[str, dict[str, Any]]], columns: list[str]
) -> Figure:
    tenants = tenants[tenants["tier"].isin([name for name, _ in tiers])]
    tenants = tenants.sort_values("ttft_p99_s", ascending=False, kind="stable")
    rows = np.arange(len(tenants))
    figure = new_figure(1.3 + 0.22 * len(tenants))
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    of_tier = tenants["tier"].astype(str).to_numpy()
    for axes, column in zip(panels, columns, strict=True):
        values = tenants[column].to_numpy()
        for index, (name, tier) in enumerate(tiers):
            mine = of_tier == name
            axes.plot(
                values[mine], rows[mine], _marker(index), color=_colour(index), mew=0, label=name
            )
            promised = _promised(tier)
            if column == "ttft_p99_s" and promised is not None:
                axes.vlines(
                    np.full(mine.sum(), promised),
                    rows[mine] - 0.4,
                    rows[mine] + 0.4,
                    color=GREEN,
                    lw=2.5,
                    label="promised p99",
                )
        axes.grid(axis="y", visible=False)
        axes.hlines(rows, 0, 1, transform=axes.get_yaxis_transform(), color=BLUE, lw=0.4, alpha=0.3)
    panels[0].set_yticks(rows, [_short(name) for name in tenants["tenant"]])
    panels[0].set_ylim(len(tenants) - 0.4, -0.6)
    panels[0].set_xscale("log")
    panels[0].set_title("p99 time to first token")
    log_seconds(panels[0].xaxis)
    if len(panels) > 1:
        _attainment(panels[1], tenants["sla_attainment"].min(), vertical=False)
    _legend(figure, panels[0])
    return figure


def _curves(
    tenants: pd.DataFrame, tiers: list[tuple[str, dict[str, Any]]], columns: list[str]
) -> Figure:
    figure = new_figure(3.4)
    panels = figure.subplots(1, len(columns), squeeze=False, sharex=True)[0]
    for axes, column in zip(panels, columns, strict=True):
        worst_first = -1 if column == "ttft_p99_s" else 1
        for index, (name, tier) in enumerate(tiers):
            values = tenants.loc[tenants["tier"] == name, column].dropna().to_numpy()
            if not len(values):
                continue
            values = worst_first * np.sort(worst_first * values)
            ranks = np.unique(np.geomspace(1, len(values), _MOST_POINTS).astype(int))
            axes.plot(
                ranks,
                values[ranks - 1],
                color=_colour(index),
                marker=_marker(index),
                ms=4,
                mew=0,
                markevery=0.08 if len(ranks) > 12 else 1,
                label=name,
            )
            promised = _promised(tier)
            if column == "ttft_p99_s" and promised is not None:
                axes.axhline(
                    promised, color=_colour(index), ls="--", lw=1, label=f"promised to {name}"
                )
        axes.set_xscale("log")
        axes.set_xlim(left=0.9)
        axes.xaxis.set_major_locator(LogLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("tenants of the tier, the worst one first")
    panels[0].set_yscale("log")
    panels[0].set_title("p99 time to first token")
    log_seconds(panels[0].yaxis)
    if len(panels) > 1:
        _attainment(panels[1], tenants["sla_attainment"].min(), vertical=True)
    _legend(figure, panels[0])
    return figure


def _attainment(axes: Axes, least: float, *, vertical: bool) -> None:
    """An axis of shares up to all requests, not so short that a single late one looks like many."""
    low = min(float(least), _LEAST_ATTAINMENT)
    margin = 0.04 * (1 - low)
    axis = axes.yaxis if vertical else axes.xaxis
    (axes.set_ylim if vertical else axes.set_xlim)(low - margin, 1 + margin)
    axis.set_major_formatter(FuncFormatter(lambda value, _: share(round(value, 6))))
    axes.set_title("requests within every bound")


def _legend(figure: Figure, axes: Axes) -> None:
    """Each label once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=5)


def _promised(tier: dict[str, Any]) -> float | None:
    entry = tier["sla"].get("ttft_p99_s")
    return None if entry is None else entry["promised"]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _colour(index: int) -> str:
    return CYCLE[index % len(CYCLE)]


def _marker(index: int) -> str:
    return MARKERS[(index + index // len(CYCLE)) % len(MARKERS)]
