"""One look for all figures: colours that colour-blind readers tell apart, on any background."""

from __future__ import annotations

import io
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # its import takes long, and many want only the colours
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's "bright" scheme (technical note SRON/EPS/TN/09-002), with a darker grey.
BLUE, CYAN, GREEN, YELLOW, RED, PURPLE, GREY = (
    "#4477aa",
    "#66ccee",
    "#228833",
    "#ccbb44",
    "#ee6677",
    "#aa3377",
    "#999999",
)
CYCLE = (BLUE, YELLOW, GREEN, PURPLE, CYAN, RED)
MARKERS = ("o", "s", "^", "D", "v", "P")

# Stand-ins that the page replaces by its own colours, so that dark mode reaches the figures.
_INK, _FAINT = "#010203", "#040506"

_STYLE: Any = {
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "text.color": _INK,
    "xtick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 8.5,
    "ytick.color": _FAINT,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 8.5,
}


def styled() -> Any:
    """A context in which figures are made and drawn, to become part of a page."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def styled_alone() -> Any:
    """A context in which figures are made and drawn that stand for themselves: dark on white."""
    from matplotlib import rc_context

    own = {_INK: "#1d2430", _FAINT: "#c9ced6"}
    style = {key: own.get(str(value), value) for key, value in _STYLE.items()}
    return rc_context(style | {"savefig.facecolor": "#ffffff"})


def new_figure(height_in: float = 3.0) -> Figure:
    """An empty figure as wide as the page's column."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(9.0, height_in), layout=ConstrainedLayoutEngine(w_pad=0.1))


def to_svg(figure: Figure, salt: str, alt: str = "") -> str:
    """The figure as an SVG element for a page that sets `--ink` and `--line`; `salt` keeps the ids
    of several figures on one page apart, `alt` says what it shows to those who do not see it."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with styled(), rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "var(--ink)").replace(_FAINT, "var(--line)")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # In a page's markup SVG needs no name spaces, whose names are addresses on the net.
    svg = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    if alt:
        svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    # The page's style sheet gives the size; the view box keeps the proportions.
    return re.sub(r' (?:width|height)="[^"]*pt"', "", svg, count=2)


def save(figure: Figure, path: Path, kind: str, dpi: int) -> None:
    """Write a figure to a file, the same bytes for the same figure; within `styled_alone()`."""
    from matplotlib import rc_context

    undated = {"Software": None} if kind == "png" else {"Date": None}
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, format=kind, dpi=dpi, metadata=undated)


def legend(axes: Axes, columns: int = 6, **options: Any) -> None:
    """A legend in one row above the axes, clear of the data."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.2,
        columnspacing=1.2,
        **options,
    )


def time_axis(axes: Axes, span_s: float) -> float:
    """Label the x axis with a unit fit for the span; return seconds per unit."""
    unit, name = next(
        (
            (u, n)
            for u, n in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))
            if span_s > 3 * u
        ),
        (1.0, "seconds"),
    )
    axes.set_xlabel(f"time ({name})")
    axes.set_xlim(0, max(span_s / unit, 1e-9))
    return unit
