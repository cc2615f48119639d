"""The figures that several runs share (to be drawn within `style.styled()`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.report.figures import PHASES, percentiles_panel, seconds_axis, shades_legend, thinned
from simlora.report.gauges import fleet_gauges
from simlora.report.style import CYCLE, MARKERS, new_figure, time_axis
from simlora.results.arrays import Floats
from simlora.results.result import Result

MOST_RUNS = 12  # a figure has room for
_DASHES = ("-", "--", "-.", ":")
_POINTS = 300
_NAME = 30
_METRICS = (
    ("ttft_s", "time to first token"),
    ("tpot_s", "time per output token"),
    ("e2e_s", "end to end"),
)


def latency_by_run(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """TTFT, TPOT and E2E: median to 99th percentile of each run."""
    figure = new_figure(1.5 + 0.34 * len(results))
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (metric, title) in zip(panels, _METRICS, strict=True):
        percentiles_panel(axes, [result.summary["latency"][metric] for result in results])
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        seconds_axis(axes)
    _rows(panels[0], names)
    shades_legend(figure, panels[0])
    return figure


def phases_by_run(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """The mean phases of a request of each run, stacked."""
    figure = new_figure(1.4 + 0.34 * len(results))
    axes = figure.subplots()
    rows, left = np.arange(len(results)), np.zeros(len(results))
    for metric, (label, colour) in PHASES.items():
        means = np.array([r.summary["latency"].get(metric, {}).get("mean") or 0.0 for r in results])
        if means.any():
            axes.barh(rows, means, 0.6, left=left, color=colour, label=label)
            left += means
    axes.set_title("mean request")
    axes.grid(axis="y", visible=False)
    seconds_axis(axes)
    _rows(axes, names)
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def ttft_distribution(
    ttft_s: Sequence[Floats], names: Sequence[str], of: str = "requests with a first token"
) -> Figure:
    """The share of requests that had their first token within a time, a line for each run."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    for index, (values, name) in enumerate(zip(ttft_s, names, strict=True)):
        values = np.sort(values[values > 0])
        if not len(values):
            continue
        ranks = np.unique(np.linspace(0, len(values) - 1, _POINTS).astype(int))
        axes.plot(values[ranks], 100 * (ranks + 1) / len(values), **_look(index, name, len(ranks)))
    axes.set_title("time to first token, at most")
    axes.set_ylabel(f"share of {of}, %")
    axes.set_ylim(0, 104)
    seconds_axis(axes)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def load_by_run(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """Requests in the batches and in the queues of each run's fleet, over time."""
    figure = new_figure(3.8)
    running, waiting = figure.subplots(2, 1, sharex=True)
    unit = time_axis(waiting, max(float(r.summary["simulation"]["span_s"]) for r in results))
    for axes, column, title in (
        (running, "running", "requests running"),
        (waiting, "waiting", "requests waiting"),
    ):
        most = 1.0
        for index, (result, name) in enumerate(zip(results, names, strict=True)):
            times, fleet, _ = fleet_gauges(result)
            if not len(times):
                continue
            centre, mean, _, _ = thinned(times, fleet[column])
            axes.plot(centre / unit, mean, **_look(index, name, len(centre)))
            most = max(most, float(mean.max()))
        axes.set_title(title)
        axes.set_ylim(0, most * 1.05)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    handles, labels = running.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _look(index: int, name: str, points: int) -> dict[str, Any]:
    """Colour, dashes and marker of a run's line."""
    return {
        "color": CYCLE[index % len(CYCLE)],
        "ls": _DASHES[index % len(_DASHES)],
        "marker": MARKERS[(index + index // len(CYCLE)) % len(MARKERS)],
        "markevery": max(points // 8, 1),
        "ms": 4,
        "mew": 0,
        "label": _short(name),
    }


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
