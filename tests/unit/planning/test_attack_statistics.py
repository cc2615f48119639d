"""Estimates of what a time tells, against distributions whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from simlora.planning.attack_statistics import (
    auc,
    best_threshold,
    bits_per_guess,
    mutual_information,
)


def guesses(rng: np.random.Generator, count: int, sooner: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal times of deviation 1; right guesses come `sooner`."""
    right = rng.random(count) < 0.5
    return rng.normal(10.0, 1.0, count) - sooner * right, right


def binary_entropy(p: float) -> float:
    return float(stats.entropy([p, 1 - p], base=2))


@pytest.mark.parametrize("sooner", [0.0, 0.5, 1.5])
def test_the_auc_of_two_normals_is_known_and_its_interval_holds_it_95_times_in_100(
    sooner: float,
) -> None:
    truth = float(stats.norm.cdf(sooner / math.sqrt(2)))
    rng = np.random.default_rng(1)
    found = [auc(*guesses(rng, 400, sooner)) for _ in range(400)]
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.005)
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.92 <= held <= 0.98


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({right for _, right in rows}) == 2
    )
)
def test_the_auc_is_the_share_of_pairs_in_order_ties_counting_half(
    rows: list[tuple[int, bool]],
) -> None:
    time_s = np.array([float(time) for time, _ in rows])
    right = np.array([kind for _, kind in rows])
    pairs = [(w > r) + (w == r) / 2 for r in time_s[right] for w in time_s[~right]]
    found = auc(time_s, right)
    assert found.value == pytest.approx(np.mean(pairs))
    assert 0.0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1.0


def test_times_that_are_wholly_apart_have_an_auc_of_1_and_a_whole_bit() -> None:
    right = np.arange(200) % 4 < 2
    time_s = np.where(right, 1.0, 2.0)
    assert auc(time_s, right).value == 1.0
    assert bits_per_guess(time_s, right) == pytest.approx(1.0)
    assert bits_per_guess(-time_s, right) == 0.0  # the attacker takes soon for right, no other way


@pytest.mark.parametrize("kind", [True, False])
def test_there_is_no_figure_without_guesses_of_both_kinds(kind: bool) -> None:
    right = np.full(10, kind)
    assert math.isnan(auc(np.arange(10.0), right).value)
    assert math.isnan(bits_per_guess(np.arange(10.0), right))


def test_guesses_that_tell_nothing_measure_the_stated_bits_on_average() -> None:
    rng = np.random.default_rng(2)
    bits = [bits_per_guess(*guesses(rng, 400, 0.0)) for _ in range(1_000)]
    assert min(bits) >= 0.0
    # Less where the threshold calls almost all guesses alike.
    assert np.mean(bits) <= 1.2 / (2 * 200 * math.log(2))


def test_the_bits_of_a_channel_with_errors_are_known() -> None:
    """Right guesses are soon nine times in ten, wrong ones one time in ten."""
    rng = np.random.default_rng(3)
    right = rng.random(40_000) < 0.5
    soon = rng.random(40_000) < np.where(right, 0.9, 0.1)
    assert bits_per_guess(np.where(soon, 1.0, 2.0), right) == pytest.approx(
        1 - binary_entropy(0.1), abs=0.01
    )


def test_a_threshold_is_judged_on_guesses_it_has_not_seen() -> None:
    """Thirty guesses of noise: judged on themselves, the best threshold would look skilled."""
    rng = np.random.default_rng(4)
    unseen, seen = [], []
    for _ in range(500):
        time_s, right = guesses(rng, 60, 0.0)
        unseen.append(bits_per_guess(time_s, right))
        verdict = time_s[::2] <= best_threshold(time_s[::2], right[::2])
        table = [[np.sum((verdict == v) & (right[::2] == r)) for r in (0, 1)] for v in (0, 1)]
        seen.append(mutual_information(np.array(table, dtype=float)))
    assert np.mean(unseen) < 0.5 * np.mean(seen)


@given(st.lists(st.integers(0, 1000), min_size=4, max_size=4).filter(any))
def test_information_is_never_negative_and_at_most_a_bit(counts: list[int]) -> None:
    table = np.array(counts, dtype=float).reshape(2, 2)
    assert 0.0 <= mutual_information(table) <= 1.0 + 1e-9
    assert mutual_information(np.outer([2.0, 3.0], [5.0, 7.0])) < 1e-12


def test_the_best_threshold_never_parts_equal_times() -> None:
    time_s = np.array([1.0, 2.0, 2.0, 3.0])
    assert best_threshold(time_s, np.array([True, True, False, False])) in (1.0, 2.0)
    assert best_threshold(time_s, np.array([False, False, True, True])) == -np.inf
