"""Replicas are split fairly among profiles, and packed evenly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.serving.bin_packing import apportion, pack

DEMANDS = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=40)


def loads_of(demands: list[float], packed: list[tuple[int, ...]], bins: int) -> list[float]:
    loads = [0.0] * bins
    for demand, where in zip(demands, packed, strict=True):
        for each in where:
            loads[each] += demand / len(where)
    return loads


@pytest.mark.parametrize(
    ("places", "demands", "split"),
    [
        (10, [80, 20], [8, 2]),
        (10, [84, 16], [8, 2]),
        (7, [3, 3, 1], [3, 3, 1]),
        (4, [97, 1, 1, 1], [1, 1, 1, 1]),
        (10, [97, 1, 1, 1], [7, 1, 1, 1]),
        (5, [0, 0], [3, 2]),
        (5, [1, 0], [4, 1]),
    ],
)
def test_places_are_split_by_largest_remainder(
    places: int, demands: list[float], split: list[int]
) -> None:
    assert apportion(places, demands) == split


@given(DEMANDS, st.integers(0, 100))
def test_every_place_is_given_and_nobody_goes_without(demands: list[float], more: int) -> None:
    split = apportion(len(demands) + more, demands)
    assert sum(split) == len(demands) + more
    assert min(split) >= 1


@given(DEMANDS, st.integers(0, 100))
def test_more_demand_never_has_fewer_places(demands: list[float], more: int) -> None:
    split = apportion(len(demands) + more, demands)
    by_demand = [places for _, places in sorted(zip(demands, split, strict=True))]
    steps = zip(sorted(demands), by_demand, sorted(demands)[1:], by_demand[1:], strict=False)
    assert all(here <= there for low, here, high, there in steps if low < high)


def test_too_few_places_are_refused() -> None:
    with pytest.raises(ValueError, match="2 places are too few for 3"):
        apportion(2, [1, 1, 1])


def test_the_largest_goes_first_and_each_into_the_first_bin_with_room() -> None:
    # 20 a bin and 5 % more hold 21: 11 and 10 go into the first, and then it is full.
    assert pack([6, 10, 4, 11, 9], 2) == [(1,), (0,), (1,), (0,), (1,)]


def test_what_is_larger_than_a_bin_is_spread() -> None:
    assert pack([30.0, 5.0, 5.0], 4) == [(0, 1, 2), (3,), (3,)]


@given(DEMANDS, st.integers(1, 30))
def test_no_bin_gets_more_than_a_share_and_one_items_part(demands: list[float], bins: int) -> None:
    packed = pack(demands, bins)
    share = sum(demands) / bins
    parts = [demand / len(where) for demand, where in zip(demands, packed, strict=True)]
    loads = loads_of(demands, packed, bins)
    assert max(loads) <= max(1.05 * share, share + max(parts)) * (1 + 1e-6)
    assert max(parts) <= 1.5 * share * (1 + 1e-6)


@given(DEMANDS, st.integers(1, 30))
def test_an_item_has_different_bins_and_at_least_one(demands: list[float], bins: int) -> None:
    for where in pack(demands, bins):
        assert where
        assert len(set(where)) == len(where)
        assert all(0 <= each < bins for each in where)


@given(st.integers(1, 200))
def test_many_small_items_leave_no_bin_less_than_half_as_full_as_the_others(bins: int) -> None:
    demands = [1.0] * (100 * bins)
    loads = loads_of(demands, pack(demands, bins), bins)
    assert max(loads) <= 105
    assert min(loads) >= 49
