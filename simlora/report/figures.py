"""The figures of a report, as matplotlib figures (to be drawn within `style.styled()`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from simlora.report.gauges import fleet_gauges, pool_gb
from simlora.report.marks import mark_happenings
from simlora.report.measured import from_outside
from simlora.report.style import (
    BLUE,
    CYAN,
    GREEN,
    GREY,
    PURPLE,
    RED,
    YELLOW,
    legend,
    new_figure,
    time_axis,
)
from simlora.report.words import tick
from simlora.results.phases import PHASE_WORDS
from simlora.results.result import Result

PHASES = {
    phase: (words.label, colour)
    for (phase, words), colour in zip(
        PHASE_WORDS.items(), (RED, YELLOW, CYAN, BLUE, PURPLE), strict=True
    )
}
_SEEN_PHASES = {  # by a client, to whom what the server does until the first token is one
    "queue_s": ("turned away before", RED),
    "prefill_s": ("to the first token", CYAN),
    "decode_s": ("from there to the last", BLUE),
}
_SHADES = (("p50", "o", 1.0), ("p90", "o", 0.65), ("p95", "o", 0.4), ("p99", "D", 1.0))
_MOST_TIERS = 12  # shown, those with most requests first
_MOST_POINTS = 300  # of a line over time


def latency_by_tier(result: Result) -> Figure:
    """TTFT, TPOT and E2E: median to 99th percentile of each tier, and what was promised."""
    tiers = shown_tiers(result)
    figure = new_figure(1.5 + 0.34 * len(tiers))
    panels = figure.subplots(1, 3, sharey=True)
    metrics = (
        ("ttft_s", "time to first token"),
        ("tpot_s", "time per output token"),
        ("e2e_s", "end to end"),
    )
    for axes, (metric, title) in zip(panels, metrics, strict=True):
        percentiles_panel(axes, [tier[metric] for _, tier in tiers])
        for row, (_, tier) in enumerate(tiers):
            promised = tier["sla"].get(f"{metric.removesuffix('_s')}_p99_s")
            if promised is not None and tier[metric]["p50"] is not None:
                axes.plot([promised["promised"]] * 2, [row - 0.32, row + 0.32], color=GREEN, lw=2.5)
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        seconds_axis(axes)
    panels[0].set_yticks(range(len(tiers)), [name for name, _ in tiers])
    panels[0].set_ylim(len(tiers) - 0.4, -0.6)
    promised_handle = []
    if any(bound.endswith("_p99_s") for _, tier in tiers for bound in tier["sla"]):
        promised_handle = axes.plot([], [], color=GREEN, lw=2.5, label="promised p99")
    shades_legend(figure, axes, promised_handle)
    return figure


def percentiles_panel(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """A row each of p50 to p99, where there are any."""
    for row, values in enumerate(rows):
        if values["p50"] is None:
            continue
        axes.plot([values["p50"], values["p99"]], [row, row], color=BLUE, lw=2, alpha=0.35)
        for name, marker, alpha in _SHADES:
            colour = RED if name == "p99" else BLUE
            axes.plot(values[name], row, marker, color=colour, alpha=alpha, ms=6, mew=0)


def shades_legend(figure: Figure, axes: Axes, more: Sequence[Line2D] = ()) -> None:
    """Which mark of `percentiles_panel` is which percentile."""
    marks = [
        axes.plot([], [], m, color=RED if n == "p99" else BLUE, alpha=a, mew=0, label=n)[0]
        for n, m, a in _SHADES
    ]
    figure.legend(handles=[*marks, *more], loc="outside lower center", ncols=5)


def phases_by_tier(result: Result) -> Figure:
    """Where the time of a request goes: mean phases stacked, and each phase's own p99."""
    tiers = shown_tiers(result)
    figure = new_figure(1.5 + 0.34 * len(tiers))
    mean_axes, p99_axes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = np.arange(len(tiers))
    left = np.zeros(len(tiers))
    phases = _SEEN_PHASES if from_outside(result.summary) else PHASES
    occurring = [
        (metric, *look)
        for metric, look in phases.items()
        if any(tier[metric]["p99"] or tier[metric]["mean"] for _, tier in tiers)
    ]
    for place, (metric, label, colour) in enumerate(occurring):
        means = np.array([tier[metric]["mean"] or 0.0 for _, tier in tiers])
        mean_axes.barh(rows, means, 0.6, left=left, color=colour, label=label)
        left += means
        p99 = [tier[metric]["p99"] for _, tier in tiers]
        aside = rows + 0.14 * (place - (len(occurring) - 1) / 2)  # equal values stay visible
        p99_axes.plot([value or np.nan for value in p99], aside, "D", color=colour, mew=0)
    for axes, title in ((mean_axes, "mean request"), (p99_axes, "99th percentile of each phase")):
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        seconds_axis(axes)
    mean_axes.set_yticks(rows, [name for name, _ in tiers])
    mean_axes.set_ylim(len(tiers) - 0.4, -0.6)
    figure.legend(*mean_axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def load_over_time(result: Result) -> Figure:
    """Requests in the batches and in the queues, and output tokens a second, of the fleet."""
    times, fleet, span_s = fleet_gauges(result)
    figure = new_figure(4.6)
    *gauges, tokens = figure.subplots(3, 1, sharex=True)
    unit = time_axis(tokens, span_s)
    seen = from_outside(result.summary)
    for axes, column, title, colour in (
        (gauges[0], "running", "answers under way" if seen else "requests running", BLUE),
        (gauges[1], "waiting", "requests without a token" if seen else "requests waiting", RED),
    ):
        centre, mean, low, high = thinned(times, fleet[column])
        axes.fill_between(centre / unit, low, high, color=colour, alpha=0.25, lw=0)
        axes.plot(centre / unit, mean, color=colour)
        axes.set_title(title)
        axes.set_ylim(0, max(high.max(), 1) * 1.05)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    gaps = np.diff(times, prepend=0.0)
    made = np.divide(fleet["output_tokens"], gaps, out=np.zeros(len(times)), where=gaps > 0)
    centre, mean, _, _ = thinned(times, made, points=100)
    tokens.fill_between(centre / unit, mean, color=GREEN, alpha=0.25, lw=0)
    tokens.plot(centre / unit, mean, color=GREEN)
    tokens.set_title("output tokens per second, each request's when it finishes")
    tokens.set_ylim(bottom=0)
    for axes in (*gauges, tokens):
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    mark_happenings(result, [*gauges, tokens], unit)
    return figure


def memory_over_time(result: Result) -> Figure:
    """The page pools by owner, summed over replicas."""
    times, _, span_s = fleet_gauges(result)
    held_gb = pool_gb(result)
    figure = new_figure(2.8)
    axes = figure.subplots()
    unit = time_axis(axes, span_s)
    owners = (
        ("adapter_pages", "adapters", YELLOW),
        ("kv_pages", "KV of requests", BLUE),
        ("prefix_pages", "cached prefixes", CYAN),
        ("free_pages", "free", GREY),
    )
    most_gb = max((float(held.max()) for held in held_gb.values() if len(held)), default=0.0)
    scale, name = (1000.0, "MB") if most_gb < 1 else (1.0, "GB")
    shown = [thinned(times, scale * held_gb[column])[:2] for column, _, _ in owners]
    centre = shown[0][0]
    stacks = axes.stackplot(
        centre / unit,
        [mean for _, mean in shown],
        colors=[colour for _, _, colour in owners],
        labels=[label for _, label, _ in owners],
        lw=0,
    )
    stacks[-1].set_alpha(0.25)
    axes.set_ylabel(name)
    axes.set_title("page pool by owner")
    axes.set_ylim(bottom=0)
    legend(axes)
    mark_happenings(result, [axes], unit)
    return figure


def adapters(result: Result) -> Figure:
    """Where adapters were found, and the hit ratio and hot adapters over time."""
    times, fleet, span_s = fleet_gauges(result)
    figure = new_figure(2.8)
    where, ratio = figure.subplots(1, 2, width_ratios=(2, 3))
    found = result.summary["adapters"]["hits_by_tier"]
    total = max(sum(found.values()), 1)
    colours = {"hot": BLUE, "warm": YELLOW, "nvme": CYAN, "store": RED}
    names = list(colours)
    shares = [100 * found.get(name, 0) / total for name in names]
    where.barh(names, shares, 0.6, color=[colours[name] for name in names])
    for row, share in enumerate(shares):
        count = found.get(names[row], 0)
        where.text(share + 1.5, row, f"{share:.3g} % ({count:,})", va="center", fontsize=8.5)
    where.set_xlim(0, 150)
    where.set_xticks([0, 50, 100], ["0", "50", "100 %"])
    where.invert_yaxis()
    where.grid(axis="y", visible=False)
    where.set_title("adapter found in")

    unit = time_axis(ratio, span_s)
    centre, lookups, _, _ = thinned(times, fleet["adapter_lookups"], points=80)
    _, hits, _, _ = thinned(times, fleet["adapter_hits"], points=80)
    share = np.divide(100 * hits, lookups, out=np.full(len(hits), np.nan), where=lookups > 0)
    ratio.plot(centre / unit, share, color=BLUE, marker=".", ms=4, label="found hot")
    ratio.set_ylim(0, 104)
    ratio.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
    ratio.set_title("adapter found hot")
    count_axes = ratio.twinx()
    count_axes.grid(visible=False)
    centre, hot, _, _ = thinned(times, fleet["hot_adapters"])
    count_axes.plot(centre / unit, hot, color=GREY, label="adapters hot (right)")
    count_axes.set_ylim(0, max(hot.max(), 1) * 1.05)
    count_axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    lines = [*ratio.get_lines(), *count_axes.get_lines()]
    legend(ratio, handles=lines)
    mark_happenings(result, [ratio], unit)
    return figure


def shown_tiers(result: Result) -> list[tuple[str, dict[str, Any]]]:
    """Name and figures of the tiers that asked for something, as many as a figure takes."""
    tiers = [
        (name, tier)
        for name, tier in result.summary["tiers"].items()
        if tier["requests"]["offered"]
    ]
    if len(tiers) > _MOST_TIERS:
        tiers.sort(key=lambda item: -item[1]["requests"]["offered"])
    return tiers[:_MOST_TIERS]


def thinned(
    times: np.ndarray, values: np.ndarray, points: int = _MOST_POINTS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean time and mean, least and largest value of up to `points` runs of instants."""
    if not len(times):
        return times, values, values, values
    starts = np.unique(
        np.linspace(0, len(times), min(points, len(times)), endpoint=False).astype(int)
    )
    counts = np.diff(starts, append=len(times))
    return (
        np.add.reduceat(times, starts) / counts,
        np.add.reduceat(values, starts) / counts,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
    )


def seconds_axis(axes: Axes) -> None:
    """Durations on the x axis; logarithmic where they span orders of magnitude."""
    points = [x for line in axes.get_lines() for x in np.atleast_1d(line.get_xdata()) if x > 0]
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    if points and not bars and max(points) / min(points) > 50:
        axes.set_xscale("log")
        axes.set_xlim(min(points) / 1.6, max(points) * 1.6)
        log_seconds(axes.xaxis)
        return
    widest = max([*points, *(bar.get_x() + bar.get_width() for bar in bars)], default=0)
    axes.set_xlim(0, widest * 1.06 or 1.0)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def log_seconds(axis: Axis) -> None:
    """Durations on a logarithmic axis, enough of them labelled on a short one too."""
    _log_ticks(axis)
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(float(f"{value:.6g}"))))


def log_counts(axis: Axis) -> None:
    """The same for counts."""
    _log_ticks(axis)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _log_ticks(axis: Axis) -> None:
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    round_values = np.multiply.outer(10.0 ** np.arange(np.floor(np.log10(low)), 20), (1, 2, 5))
    if np.count_nonzero((round_values >= low) & (round_values <= high)) < 3:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
