"""Tables of rows: a grid where there is room for its columns, on a phone a card for each row."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from simlora.dashboard.text import unbroken

if TYPE_CHECKING:
    import pandas as pd

# Both are on the page, the cards right after the grid, and the style sheet shows one: the server
# does not know the window's width. At 640 px Streamlit stacks its own columns.
STYLE = """
[data-testid="stElementContainer"]:has(.simlora-cards) { display: none; }
@media (max-width: 640px) {
  [data-testid="stElementContainer"]:has(.simlora-cards) { display: block; }
  [data-testid="stElementContainer"]:has(+ [data-testid="stElementContainer"] .simlora-cards) {
    display: none;
  }
}
.simlora-cards { display: grid; gap: 0.5rem; font-size: 0.875rem; line-height: 1.35; }
.simlora-cards.bounded { max-height: 75vh; overflow-y: auto; }
.simlora-cards section {
  border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: 0.5rem;
  padding: 0.5rem 0.75rem;
}
.simlora-cards * { margin: 0; font-size: inherit; overflow-wrap: anywhere; }
.simlora-cards dl, .simlora-cards dt, .simlora-cards dd { padding: 0; }
.simlora-cards dl {
  display: grid; gap: 0.3rem 0.75rem; margin-top: 0.2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--field)), 1fr));
}
.simlora-cards dt { font-size: 0.8rem; font-weight: 400; }
.simlora-cards dt, .simlora-cards p, .simlora-cards summary { opacity: 0.7; }
.simlora-cards summary { cursor: pointer; }
"""
_MOST_CARDS = 200
_LONGEST_LABEL = 16  # characters; a longer one wraps
_CH = 0.92  # of a digit's width a character is wide on average
_ROW_PX, _FRAME_PX = 35, 3  # of Streamlit's grid


def show_table(rows: pd.DataFrame, columns: Mapping[str, Any], seen: int | None = None) -> None:
    """Draw the rows; `columns` is the grid's column_config, with formats of printf alone. The first
    column heads a row's card. Of more than `seen` rows, the others are scrolled to."""
    at_once = len(rows) if seen is None else min(seen, len(rows))
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        height=_ROW_PX * (at_once + 1) + _FRAME_PX,
        column_config=columns,
    )
    st.html(_cards(rows, columns, at_once < len(rows)))


def _cards(rows: pd.DataFrame, columns: Mapping[str, Any], bounded: bool) -> str:
    head, *fields = rows.columns
    labels = {name: str((columns.get(name) or {}).get("label") or name) for name in rows.columns}
    shown = rows.head(_MOST_CARDS)
    told = {
        name: [
            "—" if none else _told(value, columns.get(name))
            for value, none in zip(shown[name], shown[name].isna(), strict=True)
        ]
        for name in shown
    }
    heads = (min(len(labels[name]), _LONGEST_LABEL) for name in fields)
    widest = max((*heads, *(len(text) for name in fields for text in told[name])), default=0)
    parts = [
        f"<section><strong>{escape(told[head][index])}</strong><dl>"
        + "".join(
            f"<div><dt>{escape(labels[name])}</dt><dd>{escape(told[name][index])}</dd></div>"
            for name in fields
        )
        + "</dl></section>"
        for index in range(len(shown))
    ]
    abouts = {labels[name]: (columns.get(name) or {}).get("help") for name in rows.columns}
    lines = [f"<p>{escape(name)}: {escape(about)}</p>" for name, about in abouts.items() if about]
    if lines:
        parts.append(f"<details><summary>What these are</summary>{''.join(lines)}</details>")
    if len(shown) < len(rows):
        parts.append(
            f"<p>The first {len(shown):,} of {len(rows):,}: a wider window shows all of them.</p>"
        )
    kind = "simlora-cards bounded" if bounded else "simlora-cards"
    return f'<div class="{kind}" style="--field: {_CH * widest:.1f}ch">{"".join(parts)}</div>'


def _told(value: Any, column: Mapping[str, Any] | None) -> str:
    """A cell as the grid has it, on lines that do not part a figure from its unit."""
    look = ((column or {}).get("type_config") or {}).get("format")
    return unbroken(str(look % value) if look else str(value))
