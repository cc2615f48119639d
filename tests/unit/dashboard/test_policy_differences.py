"""What is drawn of a difference: all of it within the bounds, and what is beyond them in words."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.dashboard.policy_differences import WORST, difference_row
from simlora.planning.compare import Line
from simlora.planning.metrics import Metric
from simlora.planning.paired import Difference, Verdict

TTFT = Metric(("latency", "ttft_s", "p99"), "TTFT, p99", ("TTFT", "p99"), "s", False)


def row(mean: float, low: float | None, high: float | None) -> dict[str, Any]:
    """Of a difference to a baseline of 1 s, given in percent."""
    parts = [None if one is None else one / 100 for one in (mean, low, high)]
    difference = Difference(3, *parts)
    line = Line("wait", TTFT, (), 1 + mean / 100, 1.0, difference, None, Verdict.WORSE)
    drawn = difference_row(line)
    assert drawn is not None
    return drawn


def test_a_difference_within_the_bounds_is_drawn_whole_and_without_words() -> None:
    drawn = row(20.0, -10.0, 50.0)
    assert (drawn["low"], drawn["mean"], drawn["high"]) == pytest.approx((-10.0, 20.0, 50.0))
    assert (drawn["below"], drawn["above"]) == ("", "")


def test_of_an_interval_that_is_cut_it_is_told_how_far_it_goes() -> None:
    drawn = row(200.0, -1500.0, 1900.0)
    assert (drawn["low"], drawn["high"]) == (-WORST, WORST)
    assert drawn["mean"] == pytest.approx(200.0)
    assert (drawn["below"], drawn["above"]) == ("to −1,500 %", "to +1,900 %")


def test_a_difference_beyond_the_bounds_has_no_mark_within_them_but_is_told() -> None:
    drawn = row(450.0, 250.0, 650.0)
    assert drawn["mean"] is None
    assert (drawn["low"], drawn["high"]) == pytest.approx((250.0, WORST))
    assert (drawn["below"], drawn["above"]) == ("", "+450 ±200 %")
    assert row(1900.0, None, None)["above"] == "×20.0"
    assert row(-450.0, None, None)["below"] == "−450 %"


def test_a_baseline_of_zero_has_no_relative_difference_to_draw() -> None:
    line = Line("wait", TTFT, (), 1.0, 0.0, Difference(3, 1.0, 0.5, 1.5), None, Verdict.WORSE)
    assert difference_row(line) is None
