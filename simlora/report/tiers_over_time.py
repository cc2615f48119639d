"""How each tier fared over time: its latency, what it asked for, and what was turned away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.report.asked import Asked
from simlora.report.figures import log_seconds, shown_tiers
from simlora.report.marks import mark_happenings
from simlora.report.refusals import reason_words
from simlora.report.style import BLUE, CYCLE, GREEN, RED, legend, new_figure, time_axis
from simlora.report.words import tick
from simlora.results.arrays import Bools, Floats, Ints
from simlora.results.result import Result

MOST_PANELS = 6  # the tiers with most requests first
_MOST_BINS, _FEWEST_BINS = 90, 12
_REQUESTS_A_BIN = 20  # that there should be


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal bins of the run's time, and which of them each of the `rows` arrived in."""

    edges_s: Floats
    rows: Ints
    of: Ints

    @property
    def width_s(self) -> float:
        return float(self.edges_s[1] - self.edges_s[0])

    @property
    def centres_s(self) -> Floats:
        centres: Floats = (self.edges_s[1:] + self.edges_s[:-1]) / 2
        return centres

    def count(self, where: Bools) -> Ints:
        """How many of the requests `where` are in each bin."""
        return np.bincount(self.of[where[self.rows]], minlength=len(self.edges_s) - 1)


def latency_over_time(result: Result, asked: Asked) -> Figure:
    """TTFT of each tier by the time of arrival, and the load that each tier offered."""
    names = _largest(result)
    span_s = float(result.summary["simulation"]["span_s"])
    figure = new_figure(1.2 + 1.15 * (len(names) + 1))
    *panels, offered = figure.subplots(len(names) + 1, 1, sharex=True)
    unit = time_axis(offered, span_s)
    every: list[float] = []
    for axes, name in zip(panels, names, strict=True):
        centres_s, p50, p99 = _percentiles(asked, _bins(asked, span_s, _of_tier(asked, name)))
        centres = centres_s / unit
        axes.fill_between(centres, p50, p99, color=RED, alpha=0.12, lw=0)
        axes.plot(centres, p99, color=RED, marker=".", ms=3, label="p99")
        axes.plot(centres, p50, color=BLUE, marker=".", ms=3, label="p50")
        promised = result.summary["tiers"][name]["sla"].get("ttft_p99_s")
        if promised is not None:
            axes.axhline(promised["promised"], color=GREEN, lw=1.6, label="promised p99")
            every.append(promised["promised"])
        axes.set_title(f"time to first token, tier {name}")
        legend(axes)
        every += [*p50[p50 > 0], *p99[p99 > 0]]
    log = bool(every) and max(every) > 20 * min(every)
    for axes in panels:
        if log:
            axes.set_yscale("log")
            axes.set_ylim(min(every) / 1.5, max(every) * 1.5)
            log_seconds(axes.yaxis)
        else:
            axes.set_ylim(0, max(every, default=1.0) * 1.1)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    bins = _bins(asked, span_s, np.ones(len(asked.tier), dtype=bool))
    load = [bins.count(_of_tier(asked, name)) / bins.width_s for name in names]
    offered.stackplot(
        bins.centres_s / unit, load, colors=CYCLE[: len(names)], labels=names, lw=0, alpha=0.85
    )
    offered.set_title("requests offered per second")
    offered.set_ylim(bottom=0)
    offered.yaxis.set_major_locator(MaxNLocator(4))
    if len(names) > 1:
        legend(offered)
    mark_happenings(result, [*panels, offered], unit)
    return figure


def refusals_over_time(result: Result, asked: Asked) -> Figure:
    """What part of each tier's requests was turned away or failed, and why, by time of arrival."""
    names = refused_tiers(result, asked)
    span_s = float(result.summary["simulation"]["span_s"])
    figure = new_figure(1.0 + 1.15 * len(names))
    panels = list(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0])
    unit = time_axis(panels[-1], span_s)
    for axes, name in zip(panels, names, strict=True):
        of_tier = _of_tier(asked, name)
        bins = _bins(asked, span_s, of_tier)
        arrived = np.maximum(bins.count(of_tier), 1)
        below = np.zeros(len(arrived))
        for index, (_, reason) in enumerate(asked.causes):
            part = 100 * bins.count(asked.cause == index) / arrived
            if not part.any():
                continue
            axes.bar(
                bins.edges_s[:-1] / unit,
                part,
                bins.width_s / unit,
                bottom=below,
                align="edge",
                color=CYCLE[(index + 5) % len(CYCLE)],
                label=reason_words(reason),
            )
            below += part
        axes.set_title(f"turned away or failed, tier {name}")
        axes.set_ylim(0, below.max() * 1.08)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g} %"))
        legend(axes)
    mark_happenings(result, panels, unit)
    return figure


def refused_tiers(result: Result, asked: Asked) -> list[str]:
    """The tiers with a panel of which requests were turned away or failed."""
    refused = np.bincount(asked.tier[asked.cause >= 0], minlength=len(asked.tier_names))
    return [name for name in _largest(result) if refused[asked.tier_names.index(name)]]


def _largest(result: Result) -> list[str]:
    """The tiers that have a panel, in the order of the summary."""
    tiers = shown_tiers(result)
    most = sorted(tiers, key=lambda item: -item[1]["requests"]["offered"])[:MOST_PANELS]
    kept = {name for name, _ in most}
    return [name for name, _ in tiers if name in kept]


def _of_tier(asked: Asked, name: str) -> Bools:
    rows: Bools = asked.tier == asked.tier_names.index(name)
    return rows


def _bins(asked: Asked, span_s: float, where: Bools) -> Bins:
    """Bins of the requests `where`, so many that most of them have some requests."""
    rows = np.flatnonzero(where)
    count = min(max(len(rows) // _REQUESTS_A_BIN, _FEWEST_BINS), _MOST_BINS)
    edges_s = np.linspace(0.0, max(span_s, 1e-9), count + 1)
    of = np.minimum((asked.arrival_s[rows] / edges_s[-1] * count).astype(np.int64), count - 1)
    return Bins(edges_s, rows, of)


def _percentiles(asked: Asked, bins: Bins) -> tuple[Floats, Floats, Floats]:
    """The centre of each bin, and median and 99th percentile of TTFT there; NaN where there was
    none."""
    known = ~np.isnan(asked.ttft_s)
    ends = np.cumsum(bins.count(known))[:-1]
    order = np.argsort(bins.of, kind="stable")
    rows = bins.rows[order]
    found = [
        np.quantile(values, (0.5, 0.99)) if len(values) else (np.nan, np.nan)
        for values in np.split(asked.ttft_s[rows[known[rows]]], ends)
    ]
    p50, p99 = np.array(found, dtype=float).T
    return bins.centres_s, p50, p99
