"""How much each pool of a mixed fleet had to do, over time."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.report.fleet_words import is_mixed
from simlora.report.marks import mark_happenings
from simlora.report.requests import read_requests
from simlora.report.style import CYCLE, legend, new_figure, time_axis
from simlora.results.arrays import Floats, Ints
from simlora.results.result import Result

_BINS = 100


def has_mixed_load(result: Result) -> bool:
    """Whether requests went to pools that differ in model or region."""
    served = result.summary["requests"]["completed"] > 0
    return served and len(result.timeline) > 0 and is_mixed(result.summary["simulation"])


def load_by_pool(result: Result) -> Figure:
    """Requests a second by the pool that they went to, and requests running there. Raises UserError
    if the table of requests cannot be read."""
    names = [
        str(pool.get("name", index))
        for index, pool in enumerate(result.summary["simulation"]["fleet"])
    ]
    span_s = float(result.summary["simulation"]["span_s"])
    edges_s = np.linspace(0.0, max(span_s, 1e-9), _BINS + 1)
    figure = new_figure(3.8)
    came_axes, running_axes = figure.subplots(2, 1, sharex=True)
    unit = time_axis(running_axes, span_s)
    centres = (edges_s[:-1] + edges_s[1:]) / 2 / unit
    below = np.zeros(_BINS)
    came, running = _came(result, edges_s), _running(result, edges_s)
    for index, name in enumerate(names):
        colour = CYCLE[index % len(CYCLE)]
        top = below + came[index] * _BINS / edges_s[-1]
        came_axes.fill_between(centres, below, top, color=colour, alpha=0.6, lw=0, label=name)
        running_axes.plot(centres, running[index], color=colour, label=name)
        below = top
    came_axes.set_title("requests per second, by the pool that they went to")
    running_axes.set_title("requests running")
    for axes in (came_axes, running_axes):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    legend(came_axes)
    mark_happenings(result, [came_axes, running_axes], unit)
    return figure


def _came(result: Result, edges_s: Floats) -> Floats:
    """For each pool the requests that arrived in each bin and went to one of its replicas."""
    rows = read_requests(result, ["arrival_s", "replica"])
    rows = rows[rows["replica"].fillna(-1) >= 0]
    of_pool = _pools(result, rows["replica"].to_numpy(int))
    arrival_s = rows["arrival_s"].to_numpy(float)
    pools = range(len(result.summary["simulation"]["fleet"]))
    return np.array(
        [np.histogram(arrival_s[of_pool == pool], edges_s)[0] for pool in pools], dtype=float
    )


def _running(result: Result, edges_s: Floats) -> Floats:
    """For each pool the mean of its running requests in each bin; NaN where nothing was sampled."""
    timeline = result.timeline
    times_s = timeline["time_s"].to_numpy(float)
    bins = np.clip(np.searchsorted(edges_s, times_s, side="right") - 1, 0, _BINS - 1)
    of_pool = _pools(result, timeline["replica"].to_numpy(int))
    running = timeline["running"].to_numpy(float)
    instants = np.bincount(bins[np.unique(times_s, return_index=True)[1]], minlength=_BINS)
    found = np.full((len(result.summary["simulation"]["fleet"]), _BINS), np.nan)
    for pool, values in enumerate(found):
        here = of_pool == pool
        summed = np.bincount(bins[here], running[here], _BINS)
        np.divide(summed, instants, out=values, where=instants > 0)
    return found


def _pools(result: Result, replica: Ints) -> Ints:
    """The pool of each replica."""
    ends = np.cumsum([pool["replicas"] for pool in result.summary["simulation"]["fleet"]])
    return np.searchsorted(ends, replica, side="right")
