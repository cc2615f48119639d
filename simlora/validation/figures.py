"""Predicted against measured, one mark a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from simlora.report.style import BLUE, GREEN, GREY, RED, new_figure, styled
from simlora.validation.metrics import LABELS, usable
from simlora.validation.rows import REGIMES
from simlora.validation.runner import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = ("total_tokens_per_s", "tpot_mean_s", "itl_mean_s", "ttft_mean_s")
_LOOKS = dict(zip(REGIMES, ((BLUE, "o"), (GREEN, "s"), (RED, "^")), strict=True))
_CROWDED = 100  # runs; their marks are smaller
_BAND = 0.1  # relative, around the diagonal


def scatter_figure(outcomes: Sequence[Outcome]) -> Figure:
    """Four metrics, predicted over measured on logarithmic axes, by regime."""
    with styled():
        figure = new_figure(8.6)
        for axes, metric in zip(figure.subplots(2, 2).flat, SHOWN, strict=True):
            _scatter(axes, outcomes, metric)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4)
    return figure


def save_png(figure: Figure, path: Any) -> None:
    """Write the figure on white, for documents that take no SVG."""
    with styled():
        figure.savefig(path, dpi=130, facecolor="white", transparent=False)


def _scatter(axes: Axes, outcomes: Sequence[Outcome], metric: str) -> None:
    ends: list[float] = []
    crowded = len(outcomes) > _CROWDED
    for regime, (colour, marker) in _LOOKS.items():
        points = [
            (o.run.measured[metric], o.predicted.metrics[metric])
            for o in outcomes
            if o.run.regime == regime
            and o.run.measured.get(metric)
            and o.predicted.metrics.get(metric)
            and usable(o.run, metric)
        ]
        measured, predicted = [m for m, _ in points], [p for _, p in points]
        axes.scatter(
            measured,
            predicted,
            s=14 if crowded else 32,
            color=colour,
            marker=marker,
            alpha=0.55 if crowded else 0.8,
            linewidths=0,
            label=regime.replace("_", " "),
        )
        ends += measured + predicted
    seconds = metric.endswith("_s") and not metric.endswith("per_s")
    unit = "s" if seconds else "tokens/s"
    axes.set_title(LABELS[metric] if seconds else LABELS[metric].capitalize())
    if not ends:
        axes.text(0.5, 0.5, "nothing to compare", ha="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return
    line = [min(ends) / 1.15, max(ends) * 1.15]
    axes.plot(line, line, color=GREY, linewidth=1)
    axes.fill_between(
        line,
        [(1 - _BAND) * x for x in line],
        [(1 + _BAND) * x for x in line],
        color=GREY,
        alpha=0.18,
        linewidth=0,
        label="± 10 %",
    )
    axes.set(xscale="log", yscale="log", xlabel=f"measured, {unit}", ylabel=f"predicted, {unit}")
    axes.set(xlim=line, ylim=line)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=GREY, alpha=0.4)
    axes.set_aspect("equal")
