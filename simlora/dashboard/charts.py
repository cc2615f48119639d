"""What all charts share: colours of the report, axes in readable units, a legend that fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import streamlit as st

from simlora.report.style import CYCLE as _REPORTED
from simlora.report.style import PURPLE as _REPORTED_PURPLE

if TYPE_CHECKING:
    import pandas as pd

# The report's purple is faint on a dark page (a contrast of 3:1). This one has 3.5:1 on white and
# 5:1 on the dark theme; to the colour-blind it is no nearer to another colour than those are.
PURPLE = "#aa66ff"
CYCLE = tuple(PURPLE if one == _REPORTED_PURPLE else one for one in _REPORTED)

# Seconds on an axis as a reader says them.
SECONDS = (
    "abs(datum.value) >= 1 || datum.value == 0 ? format(datum.value, ',.4~r') + ' s' : "
    "format(datum.value * 1000, ',.3~r') + ' ms'"
)
PERCENT = "format(datum.value * 100, ',.4~r') + ' %'"
GB = "format(datum.value, ',.3~r') + ' GB'"
USD = "(datum.value < 0 ? '−$' : '$') + format(abs(datum.value), ',.3~r')"
_LEGEND_CHARACTERS = 38  # that fit into a row of it on a phone
_AXIS_PX, _LEGEND_PX, _LEGEND_ROW_PX = 56, 26, 20  # what lies below the plot, in the theme's sizes


def panel(
    title: str,
    about: str,
    chart: Any,
    plot_px: int = 170,
    names: Sequence[str] = (),
) -> None:
    """A chart of Altair's as wide as its column, under a title that wraps; `about` says what is
    seen. The plot is `plot_px` high; below it is room for the axis and for a legend of `names`."""
    rows = _legend_rows(names)
    below = _AXIS_PX + (_LEGEND_PX + rows * _LEGEND_ROW_PX if rows else 0)
    # Of layers, Vega puts the legend right below the title of the axis.
    offset = 24 if isinstance(chart, alt.LayerChart) else 6
    looked = chart.properties(height=plot_px + below).configure_legend(offset=offset)
    st.markdown(f"**{title}**", help=about)
    st.altair_chart(looked, width="stretch")


def nothing(title: str, about: str, why: str) -> None:
    """In the place of a chart that has nothing to show."""
    st.markdown(f"**{title}**", help=about)
    st.caption(why)


def coloured(field: str, names: Sequence[str], colours: Sequence[str] | None = None) -> alt.Color:
    """A colour for each name, with a legend below if there are several."""
    return alt.Color(
        field,
        type="nominal",
        scale=alt.Scale(domain=list(names), range=list(colours or run_colours(names))),
        legend=legend(names),
    )


def legend(names: Sequence[str]) -> alt.Legend | None:
    """A legend of these names below the plot; none of a single one."""
    if len(names) < 2:
        return None
    return alt.Legend(
        orient="bottom",
        title=None,
        columns=_legend_columns(names),
        labelLimit=200,
        padding=0,
        rowPadding=4,
        symbolOpacity=1,
        symbolSize=80,
    )


def run_colours(names: Sequence[str]) -> list[str]:
    """A colour for each of these."""
    return [CYCLE[index % len(CYCLE)] for index in range(len(names))]


def _legend_columns(names: Sequence[str]) -> int:
    longest = max(len(name) for name in names)
    return min(len(names), max(1, _LEGEND_CHARACTERS // (longest + 3)))


def _legend_rows(names: Sequence[str]) -> int:
    return -(-len(names) // _legend_columns(names)) if len(names) > 1 else 0


def axis(label: str | None, expression: str | None = None, **look: Any) -> alt.Axis:
    """An axis whose labels have their unit; names, which have no `label`, stand at their bars."""
    if label is None:
        look["labelFlush"] = False
    if expression is not None:
        look["labelExpr"] = expression
    return alt.Axis(title=label, **look)


def log_axis(label: str, values: Sequence[float], expression: str | None = None) -> dict[str, Any]:
    """Axis and scale of a logarithmic channel for these values, labelled at 1, 2 and 5 of each
    decade, or at 1 alone where there are many."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1.0, 2.0, 5.0) if math.log10(high / low) <= 2.2 else (1.0,)
    ticks = [step * 10.0**power for power in decades for step in steps]
    kept = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
    return {
        "axis": axis(label, expression, values=kept or ticks),
        "scale": alt.Scale(type="log", nice=False, domain=[low / 1.15, high * 1.15]),
    }


def time_axis(span_s: float) -> tuple[str, float]:
    """What to call a time axis over that span, and seconds in one of its units."""
    for unit_s, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if span_s > 3 * unit_s:
            return f"simulated time ({name})", unit_s
    return "simulated time (seconds)", 1.0


def stacked_runs(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The tables of several runs as one, with a column `run`."""
    import pandas as pd

    return pd.concat([table.assign(run=name) for name, table in tables.items()], ignore_index=True)
