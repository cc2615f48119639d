"""A priority queue whose keys change rank."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from simlora.serving.fairness.base import Rank

_SLACK = 64  # outdated entries that are not worth clearing away


class LazyHeap:
    """Keys by rank, the least first; of equal ranks, the least key. Every method takes O(log n) at
    most, amortized: an entry that is out of date stays in the heap until it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, int]] = []
        self._current: dict[int, tuple[Rank, int]] = {}

    def put(self, key: int, rank: Rank) -> None:
        """Give a key, new or not, its rank."""
        known = self._current.get(key)
        if known is not None and known[0] == rank:
            return
        entry = (rank, key)
        self._current[key] = entry
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._current) + _SLACK:
            self._heap = list(self._current.values())
            heapify(self._heap)

    def remove(self, key: int) -> None:
        """Take a key out. Raises KeyError if it is not in."""
        del self._current[key]

    def first(self) -> int:
        """The key of the least rank. Raises IndexError if there is none."""
        heap, current = self._heap, self._current
        while current.get(heap[0][1]) is not heap[0]:
            heappop(heap)
        return heap[0][1]

    def rank(self, key: int) -> Rank:
        """The rank of a key. Raises KeyError if it is not in."""
        return self._current[key][0]

    def __contains__(self, key: int) -> bool:
        return key in self._current

    def __len__(self) -> int:
        return len(self._current)

    def __iter__(self) -> Iterator[int]:
        """The keys, in the order in which they came in."""
        return iter(self._current)
