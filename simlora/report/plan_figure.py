"""The figure of a plan: fleets that keep every promise, beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simlora.report.figures import seconds_axis
from simlora.report.style import BLUE, GREY, new_figure

if TYPE_CHECKING:
    from simlora.planning.search.branch import Found

_NAME = 40
_LOOKS = ((BLUE, "o", "no fleet found is both cheaper and faster"), (GREY, "s", "others"))


def alternatives(fleets: Sequence[Found], front: Sequence[str]) -> Figure:
    """A row for each fleet, its price, p99 TTFT and how much of a bound it uses up; `front` names
    those that no other one beats in price and p99 TTFT."""
    figure = new_figure(1.5 + 0.34 * len(fleets))
    price, ttft, used = figure.subplots(1, 3, sharey=True)
    rows = np.arange(len(fleets))
    kinds = [int(fleet.name not in front) for fleet in fleets]
    for axes, title, label, values in (
        (price, "price", "USD a month", [fleet.usd_per_month for fleet in fleets]),
        (ttft, "time to first token, p99", "", [fleet.ttft_p99_s for fleet in fleets]),
        (used, "bound used most", "share of that bound, %", [100 * f.used for f in fleets]),
    ):
        for kind, (colour, marker, _) in enumerate(_LOOKS):
            of_kind = [row for row in rows if kinds[row] == kind and math.isfinite(values[row])]
            at = [values[row] for row in of_kind]
            axes.plot(at, of_kind, marker, color=colour, ms=6, mew=0, ls="")
        axes.set_title(title)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    seconds_axis(ttft)
    price.xaxis.set_major_formatter(FuncFormatter(lambda usd, _: f"${usd:,.0f}"))
    used.set_xlim(0, 104)
    price.set_yticks(rows, [_short(fleet.name) for fleet in fleets])
    price.set_ylim(len(fleets) - 0.4, -0.6)
    figure.legend(
        handles=[
            Line2D([], [], color=colour, marker=marker, mew=0, ls="", label=label)
            for kind, (colour, marker, label) in enumerate(_LOOKS)
            if kind in kinds
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
