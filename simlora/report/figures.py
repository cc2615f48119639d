"""The figures of a report, as matplotlib figures (to be drawn within `style.styled()`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from simlora.report.style import (
    BLUE,
    CYAN,
    CYCLE,
    GREEN,
    GREY,
    MARKERS,
    PURPLE,
    RED,
    YELLOW,
    legend,
    new_figure,
    time_axis,
)
from simlora.report.words import duration
from simlora.results.result import Result

PHASES = {
    "queue_s": ("queue", RED),
    "adapter_wait_s": ("adapter", YELLOW),
    "prefill_s": ("prefill", CYAN),
    "decode_s": ("decode", BLUE),
    "preempted_s": ("preempted", PURPLE),
}
_MOST_TIERS = 12  # shown, those with most requests first
_MOST_POINTS = 300  # of a line over time
_MANY_TENANTS = 2000  # beyond it, points are drawn as an image


def latency_by_tier(result: Result) -> Figure:
    """TTFT, TPOT and E2E: median to 99th percentile of each tier, and what was promised."""
    tiers = _tiers(result)
    figure = new_figure(1.5 + 0.34 * len(tiers))
    panels = figure.subplots(1, 3, sharey=True)
    metrics = (
        ("ttft_s", "time to first token"),
        ("tpot_s", "time per output token"),
        ("e2e_s", "end to end"),
    )
    shades = (("p50", "o", 1.0), ("p90", "o", 0.65), ("p95", "o", 0.4), ("p99", "D", 1.0))
    for axes, (metric, title) in zip(panels, metrics, strict=True):
        for row, (_, tier) in enumerate(tiers):
            values = tier[metric]
            if values["p50"] is None:
                continue
            axes.plot([values["p50"], values["p99"]], [row, row], color=BLUE, lw=2, alpha=0.35)
            for name, marker, alpha in shades:
                axes.plot(
                    values[name],
                    row,
                    marker,
                    color=RED if name == "p99" else BLUE,
                    alpha=alpha,
                    ms=6,
                    mew=0,
                    label=name if row == 0 else None,
                )
            promised = tier["sla"].get(f"{metric.removesuffix('_s')}_p99_s")
            if promised is not None:
                axes.plot([promised["promised"]] * 2, [row - 0.32, row + 0.32], color=GREEN, lw=2.5)
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        _seconds(axes)
    panels[0].set_yticks(range(len(tiers)), [name for name, _ in tiers])
    panels[0].set_ylim(len(tiers) - 0.4, -0.6)
    figure.legend(
        handles=[
            *(
                axes.plot([], [], m, color=RED if n == "p99" else BLUE, alpha=a, mew=0, label=n)[0]
                for n, m, a in shades
            ),
            axes.plot([], [], color=GREEN, lw=2.5, label="promised p99")[0],
        ],
        loc="outside lower center",
        ncols=5,
    )
    return figure


def phases_by_tier(result: Result) -> Figure:
    """Where the time of a request goes: mean phases stacked, and each phase's own p99."""
    tiers = _tiers(result)
    figure = new_figure(1.5 + 0.34 * len(tiers))
    mean_axes, p99_axes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = np.arange(len(tiers))
    left = np.zeros(len(tiers))
    for metric, (label, colour) in PHASES.items():
        means = np.array([tier[metric]["mean"] or 0.0 for _, tier in tiers])
        mean_axes.barh(rows, means, 0.6, left=left, color=colour, label=label)
        left += means
        p99 = [tier[metric]["p99"] for _, tier in tiers]
        p99_axes.plot([value or np.nan for value in p99], rows, "D", color=colour, mew=0)
    for axes, title in ((mean_axes, "mean request"), (p99_axes, "99th percentile of each phase")):
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        _seconds(axes)
    mean_axes.set_yticks(rows, [name for name, _ in tiers])
    mean_axes.set_ylim(len(tiers) - 0.4, -0.6)
    figure.legend(*mean_axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def load_over_time(result: Result) -> Figure:
    """Requests in the batches and in the queues, and output tokens a second, of the fleet."""
    times, fleet, span_s = _fleet(result)
    figure = new_figure(3.6)
    load, tokens = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for column, label, colour in (("running", "running", BLUE), ("waiting", "waiting", RED)):
        centre, mean, low, high = _thinned(times, fleet[column])
        unit = time_axis(tokens, span_s)
        load.fill_between(centre / unit, low, high, color=colour, alpha=0.2, lw=0)
        load.plot(centre / unit, mean, color=colour, label=label)
    load.set_title("requests in the fleet")
    load.set_ylim(bottom=0)
    legend(load)
    gaps = np.diff(times, prepend=0.0)
    made = np.divide(fleet["output_tokens"], gaps, out=np.zeros(len(times)), where=gaps > 0)
    centre, mean, _, _ = _thinned(times, made, points=100)
    tokens.fill_between(centre / unit, mean, color=GREEN, alpha=0.25, lw=0)
    tokens.plot(centre / unit, mean, color=GREEN)
    tokens.set_title("output tokens per second, of requests when they finish")
    tokens.set_ylim(bottom=0)
    _thousands(load)
    _thousands(tokens)
    return figure


def memory_over_time(result: Result) -> Figure:
    """The page pools by owner, summed over replicas."""
    times, fleet, span_s = _fleet(result)
    gb_per_page = (result.summary["memory"]["page_bytes"] or 0) / 1e9
    figure = new_figure(2.8)
    axes = figure.subplots()
    unit = time_axis(axes, span_s)
    owners = (
        ("adapter_pages", "adapters", YELLOW),
        ("kv_pages", "KV of requests", BLUE),
        ("prefix_pages", "cached prefixes", CYAN),
        ("free_pages", "free", GREY),
    )
    shown = [_thinned(times, fleet[column] * gb_per_page)[:2] for column, _, _ in owners]
    centre = shown[0][0]
    stacks = axes.stackplot(
        centre / unit,
        [mean for _, mean in shown],
        colors=[colour for _, _, colour in owners],
        labels=[label for _, label, _ in owners],
        lw=0,
    )
    stacks[-1].set_alpha(0.25)
    axes.set_ylabel("GB")
    axes.set_title("page pool by owner")
    axes.set_ylim(bottom=0)
    legend(axes)
    return figure


def adapters(result: Result) -> Figure:
    """Where adapters were found, and the hit ratio and hot adapters over time."""
    times, fleet, span_s = _fleet(result)
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
    centre, lookups, _, _ = _thinned(times, fleet["adapter_lookups"], points=80)
    _, hits, _, _ = _thinned(times, fleet["adapter_hits"], points=80)
    share = np.divide(100 * hits, lookups, out=np.full(len(hits), np.nan), where=lookups > 0)
    ratio.plot(centre / unit, share, color=BLUE, marker=".", ms=4, label="hits in GPU memory (%)")
    ratio.set_ylim(0, 104)
    ratio.set_title("hit ratio and hot adapters")
    count_axes = ratio.twinx()
    count_axes.grid(visible=False)
    centre, hot, _, _ = _thinned(times, fleet["hot_adapters"])
    count_axes.plot(centre / unit, hot, color=GREY, label="adapters in GPU memory (right)")
    count_axes.set_ylim(bottom=0)
    lines = [*ratio.get_lines(), *count_axes.get_lines()]
    ratio.legend(handles=lines, loc="lower right")
    return figure


def tenants_by_load(result: Result) -> Figure:
    """Each tenant's requests against its p99 TTFT."""
    tenants = result.tenants
    figure = new_figure(3.4)
    axes = figure.subplots()
    for index, (name, _) in enumerate(_tiers(result)):
        rows = tenants[(tenants["tier"] == name) & tenants["ttft_p99_s"].notna()]
        axes.scatter(
            rows["offered"],
            rows["ttft_p99_s"],
            s=16,
            alpha=0.7,
            color=CYCLE[index % len(CYCLE)],
            marker=MARKERS[index % len(MARKERS)],
            linewidths=0,
            label=name,
            rasterized=len(tenants) > _MANY_TENANTS,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("every tenant: p99 time to first token against requests")
    axes.set_xlabel("requests of the tenant")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    legend(axes)
    return figure


def _tiers(result: Result) -> list[tuple[str, dict[str, Any]]]:
    tiers = [
        (name, tier)
        for name, tier in result.summary["tiers"].items()
        if tier["requests"]["offered"]
    ]
    if len(tiers) > _MOST_TIERS:
        tiers.sort(key=lambda item: -item[1]["requests"]["offered"])
    return tiers[:_MOST_TIERS]


def _fleet(result: Result) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Instants, and for each column of the timeline its sum over replicas."""
    timeline = result.timeline
    times, instant = np.unique(timeline["time_s"].to_numpy(), return_inverse=True)
    columns = {
        name: np.bincount(instant, timeline[name].to_numpy(), len(times))
        for name in timeline.columns
        if name not in ("time_s", "replica")
    }
    return times, columns, float(result.summary["simulation"]["span_s"])


def _thinned(
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


def _seconds(axes: Axes) -> None:
    """Durations on the x axis; logarithmic where they span orders of magnitude."""
    points = [x for line in axes.get_lines() for x in np.atleast_1d(line.get_xdata()) if x > 0]
    if points and not axes.patches and max(points) / min(points) > 50:
        axes.set_xscale("log")
    elif points:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=5)


def _thousands(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
