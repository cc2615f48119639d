"""Cached prompt prefixes: whole blocks of KV, found by hash within a namespace."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain, repeat

from simlora.serving.namespaces import SHARED
from simlora.serving.page_pool import KV, PREFIX, PagePool


class PrefixNode:
    """One cached block of `PrefixCache.block_tokens` tokens."""

    __slots__ = ("key", "last_used_s", "references")

    def __init__(self, key: tuple[int, int], now: float) -> None:
        self.key = key
        self.references = 1
        self.last_used_s = now


class PrefixCache:
    """Blocks by (namespace, hash). A hash stands for the whole prefix up to and with its block, so
    no tree is needed. Blocks nobody uses stay until their pages are wanted, oldest first; within a
    sequence the deepest block goes first, so no block outlives its own prefix for long.

    `block_tokens` is what one hash of the trace stands for, `node_pages` the pool pages of it. The
    first `public_blocks` of a request lie in the shared namespace, whatever its own is.
    """

    def __init__(self, pool: PagePool, block_tokens: int, node_pages: int) -> None:
        self.block_tokens = block_tokens
        self.node_pages = node_pages
        self.lookup_tokens = 0
        self.hit_tokens = 0
        self.on_evict: Callable[[PrefixNode], None] | None = None  # told before pages are free
        self._pool = pool
        self._nodes: dict[tuple[int, int], PrefixNode] = {}
        self._idle: OrderedDict[tuple[int, int], PrefixNode] = OrderedDict()

    @property
    def idle_pages(self) -> int:
        """Pages that could be freed at once."""
        return len(self._idle) * self.node_pages

    def oldest_idle_s(self) -> float:
        """When the next block to evict was last used (infinity: there is none)."""
        for node in self._idle.values():
            return node.last_used_s
        return float("inf")

    def match(
        self, namespace: int, hashes: list[int], max_tokens: int, public_blocks: int = 0
    ) -> int:
        """How many leading blocks, at most `max_tokens` long together, are cached."""
        nodes = self._nodes
        count = 0
        for key in _keys(namespace, hashes[: max_tokens // self.block_tokens], public_blocks):
            if key not in nodes:
                break
            count += 1
        return count

    def acquire(
        self, namespace: int, hashes: list[int], count: int, now: float, public_blocks: int = 0
    ) -> list[PrefixNode]:
        """Take a reference on each of the first `count` blocks, which `match` has found."""
        taken = []
        for key in _keys(namespace, hashes[:count], public_blocks):
            node = self._nodes[key]
            if node.references == 0:
                del self._idle[node.key]
            node.references += 1
            node.last_used_s = now
            taken.append(node)
        return taken

    def adopt(
        self,
        namespace: int,
        hashes: list[int],
        owned: list[PrefixNode],
        computed_tokens: int,
        now: float,
        public_blocks: int = 0,
    ) -> int:
        """Blocks that a request has computed become cached ones, referenced by it (`owned` grows).

        Returns how many; their pages change owner. Stops at a block that somebody else cached
        meanwhile: from there on the request keeps its own copies.
        """
        start = len(owned)
        computed = hashes[start : computed_tokens // self.block_tokens]
        for key in _keys(namespace, computed, max(public_blocks - start, 0)):
            if key in self._nodes:
                break
            node = self._nodes[key] = PrefixNode(key, now)
            owned.append(node)
        adopted = len(owned) - start
        if adopted:
            self._pool.transfer(KV, PREFIX, adopted * self.node_pages)
        return adopted

    def release(self, owned: list[PrefixNode], now: float) -> None:
        """Drop a request's references."""
        for node in reversed(owned):
            node.references -= 1
            if node.references == 0:
                node.last_used_s = now
                self._idle[node.key] = node

    def evict_oldest(self) -> None:
        """Free the pages of the idle block that was used longest ago."""
        key, node = self._idle.popitem(last=False)
        if self.on_evict is not None:
            self.on_evict(node)
        del self._nodes[key]
        self._pool.release(PREFIX, self.node_pages)

    def check(self) -> None:
        """Raises AssertionError unless the pool agrees about the pages held."""
        assert len(self._nodes) * self.node_pages == self._pool.held[PREFIX]
        assert all(node.references == 0 for node in self._idle.values())
        assert sum(n.references == 0 for n in self._nodes.values()) == len(self._idle)


def _keys(namespace: int, hashes: list[int], public_blocks: int) -> Iterator[tuple[int, int]]:
    """The key of each block."""
    return zip(chain(repeat(SHARED, public_blocks), repeat(namespace)), hashes, strict=False)
