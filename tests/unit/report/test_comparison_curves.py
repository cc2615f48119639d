"""The figures over capacity and over ranks, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes

from simlora.planning.capacity_curves import CapacityCurves, capacity_curves
from simlora.planning.ranks import RankBucket
from simlora.report.comparison_curves import (
    MOST_VARIANTS,
    capacity,
    capacity_caption,
    ranks,
    ranks_caption,
)
from simlora.report.style import CYCLE, styled
from tests.unit.planning.test_capacity_curves import PLACES, of_policies, scenario


@pytest.fixture(scope="module")
def curves() -> CapacityCurves:
    found = capacity_curves(of_policies(scenario(), "lru", "gdsf"), 0)
    assert found is not None
    return found


def labelled(axes: Axes) -> dict[str, list[float]]:
    return {
        str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axes.get_lines()
    }


def test_both_panels_show_every_policy_and_mark_the_capacity(curves: CapacityCurves) -> None:
    with styled():
        figure = capacity(curves)
        figure.draw_without_rendering()
    misses, reloads = figure.axes
    for axes in (misses, reloads):
        assert axes.get_xlabel() == "places for adapters in GPU memory"
        marks = [line for line in axes.get_lines() if line.get_label() == "the scenario's 6 places"]
        assert [line.get_xdata() for line in marks] == [[6, 6]]
    lines = labelled(misses)
    assert lines["lru"] == pytest.approx([100 * y for y in curves.curves[0].miss_ratio])
    assert lines["belady (bound)"] == pytest.approx([100 * y for y in curves.curves[-1].miss_ratio])
    assert labelled(reloads)["gdsf"] == pytest.approx(curves.curves[1].reload_s_per_1000)
    assert misses.get_ylabel() == "share of requests, %"
    assert reloads.get_ylabel() == "seconds per 1,000 requests"


def test_the_upper_axis_is_the_places_in_dollars(curves: CapacityCurves) -> None:
    with styled():
        figure = capacity(curves)
        figure.draw_without_rendering()
    (top,) = figure.axes[1].child_axes
    assert top.get_xlabel() == "price of that memory, USD a month"
    places, usd = figure.axes[1].get_xlim(), top.get_xlim()
    assert usd == pytest.approx([each * curves.usd_month_per_place for each in places])


def test_gpus_for_nothing_have_no_price_axis(curves: CapacityCurves) -> None:
    with styled():
        figure = capacity(replace(curves, usd_month_per_place=0.0))
    assert figure.axes[1].child_axes == []


def test_the_caption_says_what_was_left_out(curves: CapacityCurves) -> None:
    plain = capacity_caption(curves)
    assert f"{len(curves.stream.adapter):,} requests for {curves.stream.used} adapters" in plain
    assert "replicas" not in plain
    assert "first 200,000 requests" in capacity_caption(
        replace(curves, stream=replace(curves.stream, cut=True))
    )
    assert "while the 3 replicas have one each" in capacity_caption(replace(curves, replicas=3))
    unbounded = capacity_curves(
        of_policies(scenario().with_overrides({PLACES: None}), "lru", "2q"), 0
    )
    assert unbounded is not None
    assert "no bound of its own" in capacity_caption(unbounded)


def test_ranks_are_a_line_for_each_variant_over_the_middle_of_its_buckets() -> None:
    buckets = {
        "lru": [RankBucket(1, 1, 10, 9), RankBucket(2, 2, 0, 0), RankBucket(3, 4, 4, 1)],
        "belady": [RankBucket(1, 1, 10, 10), RankBucket(2, 2, 0, 0), RankBucket(3, 4, 4, 2)],
    }
    with styled():
        (axes,) = ranks(buckets, ["belady"]).axes
    assert labelled(axes) == {"lru": [90.0, 25.0], "belady": [100.0, 50.0]}
    lru, belady = axes.get_lines()
    assert np.asarray(lru.get_xdata()).tolist() == pytest.approx([1.0, 12**0.5])
    assert lru.get_color() == CYCLE[0]
    assert belady.get_linestyle() == "--"


def test_many_variants_are_told_apart_or_left_out() -> None:
    buckets = {f"v{n}": [RankBucket(1, 1, 10, n % 10)] for n in range(MOST_VARIANTS + 3)}
    with styled():
        (axes,) = ranks(buckets, []).axes
    looks = {(line.get_color(), line.get_marker()) for line in axes.get_lines()}
    assert len(looks) == len(axes.get_lines()) == MOST_VARIANTS
    assert "The first 12 of 15 variants are shown." in ranks_caption(buckets, 1)


def test_several_bounds_are_told_apart() -> None:
    buckets = {name: [RankBucket(1, 1, 10, 5)] for name in ("belady 1", "lru 1", "belady 2")}
    with styled():
        (axes,) = ranks(buckets, ["belady 1", "belady 2"]).axes
    first, lru, second = axes.get_lines()
    assert (first.get_linestyle(), lru.get_linestyle(), second.get_linestyle()) == ("--", "-", "--")
    assert first.get_marker() != second.get_marker()


@pytest.mark.parametrize(("last", "decades"), [(50, 1.4), (5000, 3.0)])
def test_labels_of_a_long_axis_keep_clear_of_each_other(
    curves: CapacityCurves, last: int, decades: float
) -> None:
    places = tuple(range(2, 2 + len(curves.places) - 1))
    with styled():
        figure = capacity(replace(curves, places=(*places, last)))
        figure.draw_without_rendering()
    (top,) = figure.axes[0].child_axes
    for axes in (figure.axes[0], top):
        low, high = sorted(axes.get_xlim())
        boxes = [
            label.get_window_extent()
            for label, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
            if low <= at <= high
        ]
        assert len(boxes) >= decades
        assert all(left.x1 + 2 < right.x0 for left, right in pairwise(boxes))
