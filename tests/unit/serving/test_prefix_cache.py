"""Cached prefixes: found by whole blocks, kept while used, evicted oldest and deepest first."""

from __future__ import annotations

import pytest

from simlora.serving.page_pool import KV, PREFIX, PagePool
from simlora.serving.prefix_cache import PrefixCache

BLOCK, PAGES = 16, 10


@pytest.fixture
def pool() -> PagePool:
    pool = PagePool(1000)
    pool.allocate(KV, 500)  # of the requests whose blocks are cached here
    return pool


@pytest.fixture
def cache(pool: PagePool) -> PrefixCache:
    return PrefixCache(pool, BLOCK, PAGES)


def remember(cache: PrefixCache, hashes: list[int], now: float, namespace: int = 0) -> None:
    """A request computes these blocks and ends."""
    count = cache.match(namespace, hashes, BLOCK * len(hashes))
    owned = cache.acquire(namespace, hashes, count, now)
    cache.adopt(namespace, hashes, owned, BLOCK * len(hashes), now)
    cache.release(owned, now)


def cached(cache: PrefixCache, hashes: list[int], namespace: int = 0) -> int:
    return cache.match(namespace, hashes, BLOCK * len(hashes))


def test_only_the_leading_whole_blocks_are_found(cache: PrefixCache) -> None:
    remember(cache, [1, 2, 3], 0.0)
    assert cache.match(0, [1, 2, 3, 4], 100) == 3
    assert cache.match(0, [1, 9, 3], 100) == 1
    assert cache.match(0, [9, 2, 3], 100) == 0
    assert cache.match(0, [1, 2, 3], 3 * BLOCK - 1) == 2  # the third would be longer than allowed
    cache.check()


def test_namespaces_share_nothing(cache: PrefixCache) -> None:
    remember(cache, [1, 2], 0.0, namespace=7)
    assert cached(cache, [1, 2], namespace=7) == 2
    assert cached(cache, [1, 2], namespace=8) == 0


def test_computed_blocks_change_their_owner_when_whole(cache: PrefixCache, pool: PagePool) -> None:
    owned = cache.acquire(0, [1, 2, 3], 0, 0.0)
    assert cache.adopt(0, [1, 2, 3], owned, 2 * BLOCK + 5, 0.0) == 2
    assert pool.held[PREFIX] == 2 * PAGES
    assert pool.held[KV] == 500 - 2 * PAGES
    assert cache.adopt(0, [1, 2, 3], owned, 3 * BLOCK, 1.0) == 1
    assert cache.idle_pages == 0
    cache.release(owned, 2.0)
    assert cache.idle_pages == 3 * PAGES
    cache.check()


def test_a_block_that_another_request_cached_first_ends_the_adoption(cache: PrefixCache) -> None:
    """Both computed [1, 2]; the second keeps its own copies, and what follows them."""
    remember(cache, [1, 2], 0.0)
    assert cache.adopt(0, [1, 2, 3], [], 3 * BLOCK, 1.0) == 0
    assert cached(cache, [1, 2, 3]) == 2


def test_blocks_in_use_are_not_idle_until_the_last_user_leaves(cache: PrefixCache) -> None:
    remember(cache, [1, 2], 0.0)
    one = cache.acquire(0, [1, 2], 2, 1.0)
    other = cache.acquire(0, [1], 1, 2.0)
    assert cache.idle_pages == 0
    cache.release(one, 3.0)
    assert cache.idle_pages == PAGES  # block 2; block 1 is still used by the other
    cache.release(other, 4.0)
    assert cache.idle_pages == 2 * PAGES
    cache.check()


def test_the_longest_unused_goes_first_and_of_a_sequence_the_deepest(cache: PrefixCache) -> None:
    remember(cache, [1, 2, 3], 0.0)
    remember(cache, [10, 11], 1.0)
    cache.evict_oldest()
    assert (cached(cache, [1, 2, 3]), cached(cache, [10, 11])) == (2, 2)
    remember(cache, [1, 2], 2.0)  # used again: now the others are older
    assert cache.oldest_idle_s() == 1.0
    cache.evict_oldest()
    cache.evict_oldest()
    assert (cached(cache, [1, 2, 3]), cached(cache, [10, 11])) == (2, 0)


def test_evicting_frees_the_pages(cache: PrefixCache, pool: PagePool) -> None:
    remember(cache, [1, 2], 0.0)
    free = pool.free
    cache.evict_oldest()
    assert pool.free == free + PAGES
    cache.evict_oldest()
    assert pool.held[PREFIX] == 0
    assert cache.oldest_idle_s() == float("inf")
    cache.check()
    pool.check()
