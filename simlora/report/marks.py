"""Scripted events, bursts and rollouts, drawn into figures over time."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from simlora.report.happenings import Happening
from simlora.report.moments import moments
from simlora.results.result import Result

_MOST_ROWS = 3  # of labels, one below the other
_ROW_PT = 10.0
_CHARACTER_IN = 0.05  # of a label


def mark_happenings(result: Result, panels: Sequence[Axes], unit: float) -> None:
    """Shade the time of each happening in all panels, and name it above the first, whose title and
    legend make room; `unit` is what `style.time_axis` returned. To be called when all is drawn."""
    left, right = panels[0].get_xlim()
    ink = rcParams["text.color"]
    shown = [h for h in moments(result) if h.at_s / unit < right]
    for happening in shown:
        begin, end = happening.at_s / unit, min(happening.end_s / unit, right)
        for axes in panels:
            axes.axvspan(begin, end, color=ink, alpha=0.08, lw=0, zorder=2.4)
            axes.axvline(begin, color=ink, alpha=0.4, lw=0.8, ls=(0, (2, 2)), zorder=2.4)
    if shown:
        _name(shown, panels[0], unit, right - left)


def _name(shown: list[Happening], axes: Axes, unit: float, span: float) -> None:
    """Labels in the first row that is free; where none is, the shade has to do."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width_in = figure.get_size_inches()[0] * axes.get_position().width  # about
    ends: list[float] = []  # of the last label in each row
    for happening in shown:
        length = _CHARACTER_IN * len(happening.label) / width_in
        begin = max(min(happening.at_s / unit, span * (1 - length)), 0.0)
        row = next((row for row, end in enumerate(ends) if end <= begin), len(ends))
        if row == _MOST_ROWS:
            continue
        ends[row : row + 1] = [begin + span * length]
        axes.annotate(
            happening.label,
            (begin, 1.0),
            (0, 2 + _ROW_PT * row),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=7.5,
        )
    room_pt = _ROW_PT * len(ends)
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=room_pt + rcParams["axes.titlepad"])
    legend = axes.get_legend()
    if legend is not None:
        above = ScaledTranslation(0.0, room_pt / 72, figure.dpi_scale_trans)
        legend.set_bbox_to_anchor((1.0, 1.0), axes.transAxes + above)
