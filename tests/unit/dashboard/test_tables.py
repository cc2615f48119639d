"""A table's cards: the same figures as in its grid, safe to show, and not without end."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.testing.v1 import AppTest


def cards_of(rows: pd.DataFrame, columns: dict[str, Any], seen: int | None = None) -> str:
    """The markup of the cards on a page with that table alone."""

    def page(*given: object) -> None:  # whose source is run without the imports above
        from simlora.dashboard.tables import show_table

        show_table(*given)  # type: ignore[arg-type]

    app = AppTest.from_function(page, args=(rows, columns, seen)).run()
    assert not app.exception
    assert app.dataframe[0].value.equals(rows)
    return str(app.get("html")[0].proto.body)


def texts(markup: str, tag: str) -> list[str]:
    return [unescape(text) for text in re.findall(f"<{tag}>(.*?)</{tag}>", markup)]


def test_a_card_has_its_rows_cells_in_the_grids_format_under_the_grids_heads() -> None:
    rows = pd.DataFrame(
        {"figure": ["ttft", "hit"], "predicted": [0.123456, 7.0], "error": [-3.21, float("nan")]}
    )
    columns = {
        "predicted": st.column_config.NumberColumn(format="%.4g", help="In its own unit."),
        "error": st.column_config.NumberColumn("error (%)", format="%+.1f"),
    }
    markup = cards_of(rows, columns)
    assert texts(markup, "strong") == ["ttft", "hit"]
    assert texts(markup, "dt") == ["predicted", "error (%)"] * 2
    assert texts(markup, "dd") == ["0.1235", "-3.2", "7", "—"]
    assert texts(markup, "p") == ["predicted: In its own unit."]


def test_names_with_markup_are_shown_as_they_are() -> None:
    name = "<img src=x onerror=alert(1)> & co"
    markup = cards_of(pd.DataFrame({"tenant": [name], name: [name]}), {})
    assert "<img" not in markup
    assert texts(markup, "strong") == texts(markup, "dt") == texts(markup, "dd") == [name]


def test_of_very_many_rows_the_first_are_cards_and_the_number_of_all_is_told() -> None:
    rows = pd.DataFrame({"run": range(1234), "steps": range(1234)})
    markup = cards_of(rows, {}, seen=10)
    told = re.search(r"The first ([\d,]+) of 1,234", markup)
    assert told is not None
    assert len(texts(markup, "strong")) == int(told.group(1)) < 1234
    assert 'class="simlora-cards bounded"' in markup


def test_only_rows_that_are_not_all_seen_at_once_are_scrolled_to() -> None:
    rows = pd.DataFrame({"run": range(5), "steps": range(5)})
    assert "bounded" not in cards_of(rows, {}, seen=5)
    assert "bounded" not in cards_of(rows, {})
    assert "bounded" in cards_of(rows, {}, seen=4)
