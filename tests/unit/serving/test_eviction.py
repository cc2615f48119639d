"""Which adapter each policy lets go, in stories short enough to follow."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from simlora.errors import UserError
from simlora.serving.eviction import EVICTION, PolicyContext, make_policy
from simlora.serving.eviction.arc import ARC
from simlora.serving.eviction.belady import Future
from simlora.serving.eviction.replay import miss_ratio_curve, replay
from simlora.serving.tier_cache import TierCache


def cache_of(policy: str, capacity: float = 3, **context: object) -> TierCache:
    told = PolicyContext(capacity_bytes=capacity, **context)  # type: ignore[arg-type]
    return TierCache(capacity, None, make_policy(policy, told))


def ask(cache: TierCache, keys: str, evictable: Callable[[int], bool] | None = None) -> str:
    """Ask for adapters named by letters, one byte and one second each. What is gone in the end, in
    the order it went."""
    gone = ""
    for now, letter in enumerate(keys):
        key = ord(letter)
        if not cache.access(key, now, evictable):
            gone += "".join(map(chr, cache.insert(key, 1, now, evictable) or ()))
    return gone


@pytest.mark.parametrize(
    ("policy", "capacity", "asked", "gone"),
    [
        ("fifo", 3, "abcad", "a"),  # used or not
        ("lru", 3, "abcad", "b"),
        ("lru-1", 3, "abcad", "b"),
        ("lru-k", 3, "abaabbcd", "c"),  # asked for once: its second to last access is never
        ("lru-2", 3, "abcabcabad", "c"),
        ("lru-2", 3, "aabccbbd", "a"),
        ("lru-3", 3, "aaabbcccd", "b"),
        ("lru-2", 2, "abbcaac", "acb"),  # `a` came back without its past
        ("lfu", 3, "aabbccd", "a"),  # a tie: the one not used for longest
        ("lfu", 3, "aaabcbd", "c"),
        ("lfu", 2, "aaabcbcbcb", "bcbcbc"),  # what was popular once stays for ever
        ("lfuda", 2, "aaabcbcbcb", "bca"),
        ("sieve", 3, "abcad", "b"),
        ("sieve", 3, "abcade", "bc"),  # the hand goes on from where it was
        ("sieve", 3, "abcabcd", "a"),  # all were asked for: it comes round
        ("slru", 4, "abcdaae", "b"),
        ("2q", 4, "abcde", "a"),
        ("2q", 4, "abcdeafg", "abcd"),  # `a` was remembered and is kept
        ("arc", 2, "aabc", "b"),  # what was asked for once goes first
        ("s3-fifo", 10, "abcdefghijk", "a"),
        ("w-tinylfu", 3, "aabbcde", "cd"),  # the window's against who was asked for twice
        ("gdsf", 3, "aabbccd", "a"),
    ],
)
def test_who_goes(policy: str, capacity: int, asked: str, gone: str) -> None:
    assert ask(cache_of(policy, capacity), asked) == gone


def test_gdsf_weighs_the_reload_time_against_the_size() -> None:
    seconds = {ord("a"): 9.0, ord("b"): 1.0, ord("c"): 2.0}
    cache = cache_of("gdsf", 3, reload_s=lambda key: seconds.get(key, 5.0))
    assert ask(cache, "abcd") == "b"
    sized = cache_of("gdsf", 30)
    for key, nbytes in ((1, 10), (2, 15), (3, 5)):
        sized.insert(key, nbytes, 0.0)
    assert sized.insert(4, 1, 1.0) == [2]


def test_sla_aware_lets_go_what_would_hurt_least() -> None:
    """A rare adapter of a tier with weight stays, a frequent one that is quickly back goes."""
    weights = {1: 10.0, 2: 1.0, 3: 1.0}
    seconds = {1: 1.0, 2: 1.0, 3: 100.0}
    cache = cache_of(
        "sla-aware", 3, weight=lambda k: weights.get(k, 1), reload_s=lambda k: seconds.get(k, 1)
    )
    for key in (1, 2, 3):
        cache.insert(key, 1, 0.0)
    for now in range(1, 6):
        cache.access(2, float(now))
    assert cache.insert(4, 1, 6.0) == [2]


def test_sla_aware_rather_frees_one_large_place_than_many_small_ones() -> None:
    """At equal requests and reload times it hurts least that way."""
    cache = cache_of("sla-aware", 5)
    for key, nbytes in ((1, 1), (2, 1), (3, 2), (4, 1)):
        cache.insert(key, nbytes, 0.0)
    assert cache.insert(5, 2, 1.0) == [3]


def test_sla_aware_forgets_old_requests() -> None:
    cache = cache_of("sla-aware", 2)
    cache.insert(1, 1, 0.0)
    for now in range(1, 20):
        cache.access(1, float(now))
    cache.insert(2, 1, 10_000.0)
    assert cache.insert(3, 1, 10_001.0) == [1]


def test_sla_aware_knows_requests_that_did_not_find_their_adapter() -> None:
    cache = cache_of("sla-aware", 2)
    for now in range(5):
        assert not cache.access(1, float(now))  # on its way for long
    for key in (1, 2):
        cache.insert(key, 1, 5.0)
    assert cache.insert(3, 1, 6.0) == [2]


def test_an_adapter_lives_as_long_as_its_time_to_live() -> None:
    cache = cache_of("ttl-10", 2)
    cache.insert(1, 1, 0.0)
    assert cache.access(1, 9.9)
    assert not cache.access(1, 10.0)
    assert 1 not in cache
    cache.insert(1, 1, 10.0)
    assert cache.access(1, 21.0, lambda key: False)  # in use: it may be used on
    assert not cache.access(1, 22.0)


def test_priority_evicts_from_the_lightest_tier_first() -> None:
    weights = {"a": 10.0, "b": 1.0, "c": inf, "d": 1.0}
    told = {"weight": lambda key: weights.get(chr(key), 1.0)}
    assert ask(cache_of("lru", 4, **told), "abcdefgh") == "abcd"
    assert ask(cache_of("lru+priority", 4, **told), "abcdefgh") == "bdef"
    assert ask(cache_of("fifo+priority", 2, **told), "acac") == ""
    pinned_last = cache_of("lru+priority", 2, **told)
    ask(pinned_last, "ca")
    assert pinned_last.insert(ord("c") + 100, 2, 9.0) == [ord("a"), ord("c")]


def test_priority_passes_misses_and_lifetimes_on() -> None:
    assert ask(cache_of("2q+priority", 4), "abcdeafg") == "abcd"
    assert ask(cache_of("ttl-2+priority", 4), "aba") == ""
    expiring = cache_of("ttl-2+priority", 4)
    assert ask(expiring, "abcc") == ""
    assert not expiring.access(ord("a"), 9.0)


def test_belady_looks_ahead() -> None:
    accesses = [(key, 1) for key in (1, 2, 3, 1, 2, 3, 1, 2)]
    assert replay(accesses, "lru", 2).hits == 0
    assert replay(accesses, "belady", 2).hits == 3
    assert Future([(1, 0.0), (1, 2.0)]).next_use(1, 0.0) == 2.0
    assert Future([(1, 0.0), (1, 2.0)]).next_use(1, 2.0) == inf


def test_a_replay_counts_hits_and_their_bytes() -> None:
    result = replay([(1, 10), (2, 30), (1, 10), (3, 99), (1, 10)], "lru", 40)
    assert (result.hits, result.hit_bytes) == (2, 20)
    assert (result.hit_ratio, result.byte_hit_ratio) == (2 / 5, 20 / 159)
    assert replay([], "lru", 40).hit_ratio == replay([], "lru", 40).byte_hit_ratio == 0


def test_a_replay_may_have_times_of_its_own() -> None:
    accesses = [(1, 1)] * 3
    assert replay(accesses, "ttl-10", 1, times_s=[0.0, 9.0, 18.0]).hits == 1


def test_a_miss_ratio_curve_has_a_point_for_each_capacity() -> None:
    accesses = [(key, 1) for key in (1, 2, 1, 2)]
    assert miss_ratio_curve(accesses, ["lru", "fifo"], [1, 2]) == {
        "lru": [1.0, 0.5],
        "fifo": [1.0, 0.5],
    }


# --- where something cannot go ----------------------------------------------------------------


@pytest.mark.parametrize("policy", EVICTION.names())
def test_who_is_in_use_is_passed_over_and_stays(policy: str) -> None:
    cache = cache_of(policy, 10)
    used = set(map(ord, "abc"))
    ask(cache, "abcdefghij" * 2 + "kl" + "mnopqrstuvwxyz" * 3, lambda key: key not in used)
    assert all(key in cache for key in used)
    assert len(cache) == 10


def test_sieve_leaves_who_is_in_use_in_its_place() -> None:
    cache = cache_of("sieve", 3)
    assert ask(cache, "abcd", lambda key: key != ord("a")) == "b"
    assert ask(cache, "e") == "c"  # the hand has passed `a`
    assert ask(cache, "f") == "d"


def test_in_a_tier_without_a_capacity_shares_are_of_what_it_holds() -> None:
    """Bounded by a count, 2Q keeps a quarter of the places for newcomers all the same."""
    bounded = TierCache(inf, 4, make_policy("2q", PolicyContext()))
    assert ask(bounded, "abcdeafg") == "abcd"


def test_arc_moves_by_the_unit_it_is_told() -> None:
    for unit, target in ((1.0, 1.0), (10.0, 10.0)):
        policy = ARC()
        policy.bind(PolicyContext(capacity_bytes=20, unit_bytes=unit))
        cache = TierCache(20, None, policy)
        for now, key in enumerate((1, 1, 2, 3, 2)):
            if not cache.access(key, now):
                cache.insert(key, 10, now)
        assert policy._t1_target == target


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [*EVICTION.names(), "belady", "lru-2", "ttl-600", "ttl-0.5", "lfu+priority"]
)
def test_every_name_makes_a_policy_of_its_own(name: str) -> None:
    context = PolicyContext(next_use=lambda key, now: inf)
    one, other = make_policy(name, context), make_policy(name, context)
    one.on_insert(1, 1, 0.0)
    assert list(one.victims()) == [1]
    assert list(other.victims()) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lur", "adapters.warm.eviction: unknown name 'lur'; did you mean 'lru'? allowed are 2q, "),
        ("2q+prio", "adapters.warm.eviction: '2q+prio': only priority may stand behind the +"),
        ("lur+priority", "adapters.warm.eviction: unknown name 'lur'; did you mean 'lru'? "),
        ("lru-0", "adapters.warm.eviction: lru-0: the K of lru-K must be a whole number from 1 to"),
        ("lru-1.5", "adapters.warm.eviction: lru-1.5: the K of lru-K must be a whole number from"),
        ("ttl-0", "adapters.warm.eviction: ttl-0: an adapter must live for more than 0 seconds"),
        ("belady", "adapters.warm.eviction: belady has to know every access ahead, and nobody"),
        ("belady+priority", "adapters.warm.eviction: belady has to know every access ahead, "),
    ],
)
def test_a_wrong_name_is_told_with_what_is_allowed(name: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        make_policy(name, PolicyContext(), "adapters.warm.eviction")
    assert str(caught.value).startswith(problem)
