"""A bounded tier keeps what was used last."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.serving.eviction import LRU
from simlora.serving.tier_cache import TierCache


def anything(_: int) -> bool:
    return True


def tier(capacity_bytes: float = 100.0, max_count: int | None = None) -> TierCache:
    return TierCache(capacity_bytes, max_count, LRU())


def test_the_least_recently_used_makes_room() -> None:
    cache = tier()
    for key in (1, 2, 3):
        assert cache.insert(key, 30, 0.0, anything) == []
    assert cache.access(1, 1.0)
    assert cache.insert(4, 30, 2.0, anything) == [2]
    assert [key in cache for key in (1, 2, 3, 4)] == [True, False, True, True]


def test_as_many_go_as_it_takes() -> None:
    cache = tier()
    for key in (1, 2, 3):
        cache.insert(key, 30, 0.0, anything)
    assert cache.insert(4, 60, 1.0, anything) == [1, 2]
    assert (cache.used_bytes, len(cache), cache.evictions) == (90, 2, 2)


def test_the_bound_on_the_count_evicts_too() -> None:
    cache = tier(max_count=2)
    cache.insert(1, 1, 0.0, anything)
    cache.insert(2, 1, 0.0, anything)
    assert cache.insert(3, 1, 1.0, anything) == [1]


def test_what_must_stay_is_passed_over() -> None:
    cache = tier()
    for key in (1, 2, 3):
        cache.insert(key, 30, 0.0, anything)
    assert cache.insert(4, 30, 1.0, lambda key: key != 1) == [2]


@pytest.mark.parametrize("nbytes", [30, 101])
def test_what_does_not_fit_changes_nothing(nbytes: int) -> None:
    cache = tier()
    for key in (1, 2, 3):
        cache.insert(key, 30, 0.0, anything)
    assert cache.insert(4, nbytes, 1.0, lambda key: nbytes > 100) is None
    assert (cache.used_bytes, len(cache), cache.evictions) == (90, 3, 0)
    assert 4 not in cache


def test_an_access_to_what_is_not_here_says_so() -> None:
    assert not tier().access(1, 0.0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 40)), max_size=60))
def test_never_more_bytes_than_there_is_room_for(inserts: list[tuple[int, int]]) -> None:
    cache = tier()
    sizes: dict[int, int] = {}
    for key, nbytes in inserts:
        if cache.access(key, 0.0):
            assert key in sizes
            continue
        for victim in cache.insert(key, nbytes, 0.0, anything) or ():
            del sizes[victim]
        sizes[key] = nbytes
        assert cache.used_bytes == sum(sizes.values()) <= 100
