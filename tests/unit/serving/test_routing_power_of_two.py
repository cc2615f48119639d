"""The less loaded of two replicas drawn at random."""

from __future__ import annotations

import random

import pytest

from simlora.serving.routing import PowerOfTwo
from tests.unit.serving.routing_fleet import fleet, request


def gap(replicas: int, requests_each: int, seed: int, *, choices: int) -> int:
    """How far the fullest is above the mean when nothing ever finishes."""
    router, bins, one = PowerOfTwo(seed), fleet(*[0] * replicas), random.Random(seed)
    for index in range(replicas * requests_each):
        chosen = router.choose(request(0, index), bins) if choices == 2 else one.randrange(replicas)
        bins[chosen].outstanding += 1
    return max(replica.outstanding for replica in bins) - requests_each


@pytest.mark.parametrize("seed", range(3))
def test_two_choices_keep_the_fullest_near_the_mean_where_one_does_not(seed: int) -> None:
    """Balls into bins: log log n / log 2 + O(1) above the mean with two choices, whatever the
    number of balls (Berenbrink et al., SIAM J. Comput. 35(6), 2006); with one about
    sqrt(2 m/n log n), here 33."""
    assert gap(200, 100, seed, choices=2) <= 5
    assert gap(200, 100, seed, choices=1) >= 20


def test_the_fullest_hardly_rises_with_the_number_of_replicas_or_of_requests() -> None:
    small = gap(20, 10, 0, choices=2)
    assert gap(2000, 10, 0, choices=2) <= small + 3
    assert gap(20, 1000, 0, choices=2) <= small + 3


def test_the_draws_are_the_same_in_every_run_whatever_else_is_random() -> None:
    def draws(seed: int = 0) -> list[int]:
        router, replicas = PowerOfTwo(seed), fleet(*[0] * 10)
        random.random()  # moves the global stream on
        return [router.choose(request(0, index), replicas) for index in range(100)]

    first = draws()
    random.seed(12345)
    assert draws() == first
    assert draws(seed=1) != first
    assert set(first) == set(range(10))


def test_two_different_replicas_are_compared() -> None:
    """With two there is no choice but both, so the less loaded gets all."""
    router = PowerOfTwo()
    assert {router.choose(request(0, index), fleet(3, 2)) for index in range(50)} == {1}
    assert {router.choose(request(0, index), fleet(2, 3)) for index in range(50)} == {0}


def test_the_most_loaded_of_all_is_never_chosen() -> None:
    router = PowerOfTwo()
    chosen = {router.choose(request(0, index), fleet(1, 5, 2, 3)) for index in range(200)}
    assert chosen == {0, 2, 3}
