"""The look of figures: told apart by readers who see no green, and legible on both papers."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from simlora.report import style
from simlora.report.figures import PHASES
from simlora.report.page import STYLE

COLOURS = {
    name: getattr(style, name)
    for name in ("BLUE", "CYAN", "GREEN", "YELLOW", "RED", "PURPLE", "GREY")
}
# Deuteranopia in linear RGB: Machado, Oliveira and Fernandes, IEEE TVCG 15 (2009), severity 1.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = XYZ.sum(axis=1)
DISTINCT = 15.0  # CIE76; 2.3 is just noticeable side by side


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    ratio = XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: str, other: str) -> float:
    seen = [lab(DEUTERANOPIA @ linear(colour)) for colour in (one, other)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_a_red_and_a_green_of_one_lightness_would_not_pass() -> None:
    assert distance("#a05050", "#6f7a50") < DISTINCT


@pytest.mark.parametrize("pair", list(combinations(COLOURS, 2)), ids="-".join)
def test_any_two_colours_differ_for_readers_with_deuteranopia(pair: tuple[str, str]) -> None:
    assert distance(COLOURS[pair[0]], COLOURS[pair[1]]) > DISTINCT


def test_series_of_one_figure_have_colours_of_their_own() -> None:
    assert len(set(style.CYCLE)) == len(style.CYCLE) == len(style.MARKERS)
    assert len({colour for _, colour in PHASES.values()}) == len(PHASES)


def test_text_is_legible_in_light_in_dark_and_on_paper() -> None:
    themes = re.findall(r"--ink: (#\w+)[^}]*?--paper: (#\w+)", STYLE)
    assert len(themes) == 3
    for ink, paper in themes:
        assert contrast(_six(ink), _six(paper)) > 7
    for soft in re.findall(r"--soft: (#\w+)", STYLE):
        assert max(contrast(_six(soft), _six(paper)) for _, paper in themes) > 4.5


@pytest.mark.parametrize("name", COLOURS)
def test_marks_stand_out_from_either_paper(name: str) -> None:
    for paper in ("#ffffff", "#14181e"):
        assert contrast(COLOURS[name], paper) > 1.8


def _six(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
