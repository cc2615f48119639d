"""The colours of series, on the pages of both themes."""

from __future__ import annotations

import pytest

from simlora.dashboard.charts import CYCLE, PURPLE, run_colours
from simlora.report.style import CYCLE as REPORTED

DARK, WHITE = "#171614", "#ffffff"  # Streamlit's pages


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio as WCAG 2.1 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", run_colours(["run"] * len(CYCLE)))
def test_every_series_stands_out_on_a_dark_page(colour: str) -> None:
    assert contrast(colour, DARK) >= 3.5


def test_purple_can_be_seen_on_both_pages_and_the_other_colours_are_the_reports() -> None:
    assert contrast(PURPLE, DARK) >= 4.5
    assert contrast(PURPLE, WHITE) >= 3.0
    assert [one for one in CYCLE if one != PURPLE] == [one for one in REPORTED if one in CYCLE]
    assert len(set(CYCLE)) == len(REPORTED)
