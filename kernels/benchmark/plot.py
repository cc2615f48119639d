"""The roofline: what each case reached, and what the device would allow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from kernels.benchmark.attention_cases import DECODE as PAGED_DECODE
from kernels.benchmark.attention_cases import PREFILL as PAGED_PREFILL
from kernels.benchmark.device import DeviceFacts
from kernels.benchmark.elementwise_cases import KIND as ELEMENTWISE
from kernels.benchmark.lora_cases import DECODE, PREFILL, STEP
from kernels.benchmark.results import Result

# Label, colour (Okabe and Ito's, which all eyes can tell apart) and marker.
KINDS = {
    DECODE: ("LoRA, one group, decode", "#0072B2", "o"),
    PREFILL: ("LoRA, one group, prefill", "#56B4E9", "s"),
    STEP: ("LoRA, all of a decode step", "#000000", "*"),
    PAGED_DECODE: ("paged attention, decode", "#009E73", "D"),
    PAGED_PREFILL: ("paged attention, prefill", "#D55E00", "^"),
    ELEMENTWISE: ("norm, activation, rotary", "#999999", "v"),
}


def plot_roofline(results: Sequence[Result], facts: DeviceFacts, model: str, path: Path) -> bool:
    """Write a PNG. Returns False if it cannot, there being no matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False

    figure = Figure(figsize=(9, 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for kind, (label, color, marker) in KINDS.items():
        of_kind = [each for each in results if each.kind == kind]
        if of_kind:
            axes.plot(
                [each.work.flops / each.work.bytes for each in of_kind],
                [each.flops_per_s / 1e12 for each in of_kind],
                label=label,
                color=color,
                marker=marker,
                markersize=11 if kind == STEP else 6,
                markeredgecolor="white",
                markeredgewidth=0.6,
                linestyle="none",
                zorder=4 if kind == STEP else 3,
            )

    axes.set_xscale("log")
    axes.set_yscale("log")
    ridge = facts.flops_per_s / facts.bytes_per_s
    intensities = [each.work.flops / each.work.bytes for each in results]
    low, high = min([*intensities, ridge]) / 2, max([*intensities, ridge]) * 2.5
    peak, slope = facts.flops_per_s / 1e12, facts.bytes_per_s / 1e12
    axes.plot([low, ridge, high], [low * slope, peak, peak], color="#444444", zorder=2)
    axes.plot([low, ridge], [low * slope / 2, peak / 2], color="#444444", ls=":", lw=1, zorder=1)
    axes.annotate(
        f"matrix product, {peak:,.3g} TFLOP/s",
        (high, peak), xytext=(-4, 5), textcoords="offset points", ha="right", fontsize=9,
    )  # fmt: skip
    axes.set_xlim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("FLOPs for each byte that has to be read or written")
    axes.set_ylabel("TFLOP/s")
    axes.set_title(f"{model} on {facts.name}, {facts.dtype}")
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.legend(loc="lower right", frameon=True, fontsize=9)
    # Written along its line, whose angle is known once everything has its place.
    figure.draw_without_rendering()
    (x0, y0), (x1, y1) = axes.transData.transform([(low, low * slope), (ridge, peak)])
    axes.annotate(
        f"copy, {slope * 1e3:,.0f} GB/s (dotted: half of it)",
        (low, low * slope), xytext=(12, 16), textcoords="offset points", fontsize=9,
        rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)), rotation_mode="anchor",
    )  # fmt: skip
    figure.savefig(path)
    return True
