"""Replicas that were up over time, and the requests that waited."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.report.asked import Asked
from simlora.report.marks import mark_happenings
from simlora.report.style import CYCLE, RED, legend, new_figure, time_axis
from simlora.results.arrays import Floats
from simlora.results.result import Result

_INSTANTS = 600


def replicas_over_time(result: Result, asked: Asked) -> Figure:
    """Replicas up, by pool, and the requests that had no first token yet."""
    timeline = result.timeline
    pools = result.summary["simulation"]["fleet"]
    span_s = float(result.summary["simulation"]["span_s"])
    times, instant = np.unique(timeline["time_s"].to_numpy(), return_inverse=True)
    firsts = np.cumsum([pool["replicas"] for pool in pools])
    of_pool = np.searchsorted(firsts, timeline["replica"].to_numpy(int), side="right")
    figure = new_figure(3.6)
    up_axes, waiting = figure.subplots(2, 1, sharex=True)
    unit = time_axis(waiting, span_s)
    edges = np.append(times, max(span_s, times[-1])) / unit
    below = np.zeros(len(edges))
    for index, pool in enumerate(pools):
        here = of_pool == index
        up = np.bincount(instant[here], timeline["up"].to_numpy()[here], len(times))
        top = below + np.append(up, up[-1:])
        up_axes.fill_between(
            edges,
            below,
            top,
            step="post",
            color=CYCLE[index % len(CYCLE)],
            alpha=0.6,
            lw=0,
            label=str(pool.get("name", index)),
        )
        below = top
    up_axes.step(edges, below, where="post", color=CYCLE[0], lw=1.0)
    up_axes.set_title("replicas up")
    up_axes.set_ylim(0, max(float(firsts[-1]), 1) * 1.08)
    up_axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    if len(pools) > 1:
        legend(up_axes)
    at_s = np.linspace(0.0, span_s, _INSTANTS)
    count = without_first_token(asked, at_s)
    waiting.fill_between(at_s / unit, count, color=RED, alpha=0.25, lw=0)
    waiting.plot(at_s / unit, count, color=RED)
    waiting.set_title("requests without their first token")
    waiting.set_ylim(0, max(float(count.max()), 1) * 1.05)
    waiting.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    waiting.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    mark_happenings(result, [up_axes, waiting], unit)
    return figure


def without_first_token(asked: Asked, at_s: Floats) -> Floats:
    """Requests that had come by each instant, and had neither a first token nor an end; wherever
    they waited, before the gateway too."""
    came = np.searchsorted(np.sort(asked.arrival_s), at_s, side="right")
    went = np.searchsorted(np.sort(asked.first_token_or_end_s), at_s, side="right")
    return (came - went).astype(float)
