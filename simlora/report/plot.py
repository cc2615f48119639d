"""A figure of a report: on its page, in words for those who do not see it, or as a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from simlora.errors import UserError
from simlora.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["png", "svg"]
FORMATS: tuple[Format, ...] = get_args(Format)
_DPI = 150
_MOST_NAMES = 8  # of series that the words for a panel list


@dataclass(frozen=True, slots=True)
class Plot:
    """`title` and `caption` are plain text; `draw` makes the figure, in a style that is set."""

    title: str
    caption: str
    draw: Callable[[], Figure]

    @property
    def file(self) -> str:
        """The title as the name of a file, without an ending."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def embedded(plot: Plot, salt: str, level: int = 3) -> str:
    """The figure as HTML under a head of this level; `salt` keeps its ids apart from others'."""
    with style.styled():
        figure = plot.draw()
    svg = style.to_svg(figure, salt, alt=in_words(plot.title, figure))
    return (
        f"<section class=plot>\n<h{level}>{escape(plot.title)}</h{level}>\n"
        f'<figure><div class=wide tabindex=0 role=region aria-label="{escape(plot.title)}">{svg}'
        f"</div><figcaption>{escape(plot.caption)}</figcaption></figure>\n</section>"
    )


def write_plots(plots: Sequence[Plot], directory: Path, kind: Format = "png") -> list[Path]:
    """Write each figure into `directory`, made if need be, dark on white; return the paths.

    Raises:
        UserError: they cannot be written.
    """
    paths = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for plot in plots:
            path = directory / f"{plot.file}.{kind}"
            with style.styled_alone():
                style.save(plot.draw(), path, kind, _DPI)
            paths.append(path)
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write figures there: {error.strerror or error}"
        ) from error
    return paths


def in_words(title: str, figure: Figure) -> str:
    """What a figure shows, panel by panel: its title, axes and series."""
    panels = [_panel(axes) for axes in figure.axes if axes.get_visible()]
    told = "; ".join(panel for panel in panels if panel)
    shared = _names([text.get_text() for legend in figure.legends for text in legend.get_texts()])
    return f"{title}. {told}{f'; shown are {shared}' if shared else ''}.".replace("..", ".")


def _panel(axes: Axes) -> str:
    title = axes.get_title(loc="left")
    label = " by ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
    legend = axes.get_legend()
    series = _names([text.get_text() for text in legend.get_texts()]) if legend else ""
    rows = "" if series else _names(_row_names(axes))
    parts = (title, label, f"series {series}" if series else "", f"rows {rows}" if rows else "")
    return ", ".join(filter(None, parts))


def _row_names(axes: Axes) -> list[str]:
    """Words along the vertical axis, which name rows; numbers do not."""
    labels = [tick.get_text() for tick in axes.get_yticklabels()] if axes.get_visible() else []
    return [text for text in labels if text[:1].isalpha()]


def _names(names: list[str]) -> str:
    once = list(dict.fromkeys(names))
    more = f" and {len(once) - _MOST_NAMES} more" if len(once) > _MOST_NAMES else ""
    return ", ".join(once[:_MOST_NAMES]) + more
