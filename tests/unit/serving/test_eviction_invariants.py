"""What holds of every policy, whatever is asked of it."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.serving.eviction import EVICTION, PolicyContext, make_policy
from simlora.serving.eviction.belady import Future
from simlora.serving.eviction.ranking import Ranking
from simlora.serving.eviction.replay import replay
from simlora.serving.tier_cache import TierCache

NAMES = [*EVICTION.names(), "lru-3", "ttl-5", "2q+priority", "sieve+priority", "belady"]
UNIFORM = [name for name in NAMES if name != "belady"]
KEYS = st.integers(0, 12)

# What a consumer does: ask for a key and bring it in if absent, evict the n-th candidate, or look
# at the candidates only.
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "ask", "miss", "evict"]), KEYS), max_size=80)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("capacity", [None, 12.0])
@settings(max_examples=60)
@given(steps=STEPS)
def test_victims_are_the_residents_each_once(
    name: str, capacity: float | None, steps: list[tuple[str, int]]
) -> None:
    context = PolicyContext(
        capacity_bytes=capacity,
        weight=lambda key: 1.0 + key % 2,
        reload_s=lambda key: 0.1 * key,
        next_use=lambda key, now: now + key,
    )
    policy: Any = make_policy(name, context)
    residents: set[int] = set()
    for number, (what, key) in enumerate(steps):
        now = number / 3
        if what == "evict":
            order = list(policy.victims())
            if order:  # the first, or any other if those before it are in use
                gone = order[key % len(order)]
                policy.on_remove(gone)
                residents.remove(gone)
        elif key in residents:
            policy.on_access(key, now)
        else:
            if hasattr(policy, "on_miss"):
                policy.on_miss(key, now)
            if what == "ask":
                policy.on_insert(key, 1 + key % 4, now)
                residents.add(key)
        order = list(policy.victims())
        assert sorted(order) == sorted(residents)
        assert list(policy.victims()) == order  # looking changes nothing


@pytest.mark.parametrize("name", UNIFORM)
@settings(max_examples=40)
@given(
    accesses=st.lists(st.tuples(KEYS, st.just(0)), max_size=120),
    used=st.frozensets(KEYS, max_size=3),
)
def test_the_capacity_is_never_exceeded(
    name: str, accesses: list[tuple[int, int]], used: frozenset[int]
) -> None:
    context = PolicyContext(capacity_bytes=11)
    cache = TierCache(11, 5, make_policy(name, context))
    inside: dict[int, int] = {}
    for now, (key, _) in enumerate(accesses):
        if cache.access(key, now, lambda k: k not in used):
            assert key in inside
            continue
        inside.pop(key, None)
        gone = cache.insert(key, 1 + key % 5, now, lambda k: k not in used)
        if gone is not None:
            assert not used & set(gone)
            for victim in gone:
                del inside[victim]
            inside[key] = 1 + key % 5
        assert cache.used_bytes == sum(inside.values()) <= 11
        assert len(cache) == len(inside) <= 5


@pytest.mark.parametrize("name", UNIFORM)
@settings(max_examples=40)
@given(
    keys=st.lists(KEYS, max_size=150),
    capacity=st.integers(1, 8),
)
def test_nobody_beats_belady_on_adapters_of_one_size(
    name: str, keys: list[int], capacity: int
) -> None:
    accesses = [(key, 1) for key in keys]
    assert replay(accesses, name, capacity).hits <= replay(accesses, "belady", capacity).hits


@pytest.mark.parametrize("name", NAMES)
def test_the_same_accesses_give_the_same_decisions(name: str) -> None:
    accesses = [(number * number % 37, 1 + number % 3) for number in range(2_000)]
    assert replay(accesses, name, 20) == replay(accesses, name, 20)


@pytest.mark.parametrize("name", UNIFORM)
def test_memory_is_linear_in_what_is_cached(name: str) -> None:
    """However many adapters pass by: once each, or now and then."""
    capacity = 50
    policy = make_policy(name, PolicyContext(capacity_bytes=capacity))
    cache = TierCache(capacity, None, policy)
    for now in range(20_000):
        key = now if now % 3 else now % 401
        if not cache.access(key, now):
            cache.insert(key, 1, now)
    assert len(cache) == capacity
    assert _entries(policy) < 25 * capacity


def _entries(policy: object) -> int:
    """Entries of all containers that hang on an object of the package."""
    total, seen, found = 0, set(), [policy]
    while found:
        thing = found.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict | list | set | deque):
            total += len(thing)
            found.extend(thing.values() if isinstance(thing, dict) else thing)
        if type(thing).__module__.startswith("simlora."):
            found.extend(getattr(thing, "__dict__", {}).values())
    return total


def test_a_long_lived_future_is_searched_by_key() -> None:
    future = Future((number % 5, float(number)) for number in range(100))
    assert [future.next_use(key, 50.5) for key in range(5)] == [55.0, 51.0, 52.0, 53.0, 54.0]


@settings(max_examples=300)
@given(st.lists(st.tuples(KEYS, st.sampled_from([None, 0.0, 1.0, 2.0, 3.0, 4.0])), max_size=80))
def test_a_ranking_is_sorted_by_rank_then_age(changes: list[tuple[int, float | None]]) -> None:
    ranking = Ranking()
    model: dict[int, tuple[float, int]] = {}
    for number, (key, rank) in enumerate(changes):
        if rank is not None:
            ranking.put(key, rank)
            model[key] = (rank, number)
        elif key in model:
            assert ranking.remove(key) == model.pop(key)[0]
        if number % 3 == 0:
            assert list(ranking) == sorted(model, key=lambda k: model[k])
    assert list(ranking) == sorted(model, key=lambda k: model[k])
    assert len(ranking) == len(model)
