"""The figure of a comparison: differences to the baseline with their intervals."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.planning.compare import Comparison, Line
from simlora.planning.metrics import Metric
from simlora.planning.paired import Verdict
from simlora.report.comparison_words import same_everywhere, scale_of
from simlora.report.style import BLUE, GREY, RED, new_figure

_COLUMNS = 3
_LEAST = 0.5  # percent or points, shown on both sides of 0
_LOOKS = {
    Verdict.BETTER: (BLUE, "o"),
    Verdict.WORSE: (RED, "D"),
    Verdict.UNCLEAR: (GREY, "s"),
    Verdict.SAME: (GREY, "s"),
    Verdict.ONE_REPLICATION: (GREY, "s"),
}


def differences(compared: Comparison) -> Figure:
    """A panel for each metric that tells variants apart, a row for each variant: the mean
    difference, its 95 % interval, and faintly what each replication said."""
    metrics = compared_metrics(compared)
    rows = max(-(-len(metrics) // _COLUMNS), 1)
    names = [variant.name for variant in compared.variants[1:]]
    figure = new_figure(0.9 + rows * (0.8 + 0.22 * len(names)))
    panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
    for axes in panels.flat[len(metrics) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels.flat, metrics, strict=False):
        _panel(axes, compared, metric)
    for of_row in panels:
        of_row[0].set_yticks(range(len(names)), [_short(name) for name in names])
        of_row[0].set_ylim(len(names) - 0.4, -0.6)
    count = len(compared.seeds)
    over = f", with 95 % intervals over {count} replications" if count > 1 else ""
    figure.suptitle(f"Differences to {_short(compared.baseline)}{over}", x=0.01, ha="left")
    shown = dict.fromkeys(line.verdict for line in compared.lines if line.metric in metrics)
    figure.legend(
        handles=[
            Line2D([], [], color=colour, marker=marker, mew=0, label=verdict.value)
            for verdict, (colour, marker) in _LOOKS.items()
            if verdict in shown
        ],
        loc="outside lower center",
        ncols=4,
    )
    return figure


def compared_metrics(compared: Comparison) -> list[Metric]:
    """The metrics that tell variants apart and that some variant shares with the baseline."""
    hidden = same_everywhere(compared)
    return [
        metric
        for metric in compared.metrics
        if metric not in hidden and any(map(_is_drawn, compared.of_metric(metric)))
    ]


def _is_drawn(line: Line) -> bool:
    return line.verdict in _LOOKS and line.difference is not None and scale_of(line) is not None


def _tick(value: float, _: object) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _panel(axes: Axes, compared: Comparison, metric: Metric) -> None:
    lines = compared.of_metric(metric)
    axes.axvline(0, color=GREY, lw=1)
    unit = "points" if metric.unit == "share" else "%"
    for row, line in enumerate(lines[1:]):
        scale = scale_of(line)
        if scale is None or line.difference is None or line.verdict not in _LOOKS:
            continue
        colour, marker = _LOOKS[line.verdict]
        each = _each(lines[0], line, scale)
        axes.plot(each, [row + 0.27] * len(each), "o", color=colour, alpha=0.4, ms=2.5, mew=0)
        difference = line.difference
        if difference.low is not None and difference.high is not None:
            ends = [scale * difference.low, scale * difference.high]
            axes.plot(ends, [row, row], color=colour, lw=2)
        axes.plot(scale * (difference.mean or 0.0), row, marker, color=colour, ms=5, mew=0)
    better = "→ better" if metric.higher_is_better else "← better"
    axes.set_title(metric.title)
    axes.set_xlabel(f"difference, {unit} ({better})")
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    # Next to nothing should not look like a large difference.
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -_LEAST), max(high, _LEAST))


def _each(base: Line, line: Line, scale: float) -> list[float]:
    """The difference in each replication."""
    return [
        scale * (value - known)
        for known, value in zip(base.values, line.values, strict=True)
        if known is not None and value is not None
    ]


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
