"""Keys in the order of a rank that changes with every access."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace

Entry = tuple[float, int, int]  # rank, number of the update that gave it, key

_SLACK = 64  # outdated entries that are not worth clearing away


class Ranking:
    """Iterates over keys from the lowest rank; of equal ones, the one ranked longest ago is first.

    A heap in which a key that has risen stays where it was until it comes up: accesses usually
    raise a key, and so cost no sifting.
    """

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._current: dict[int, Entry] = {}
        self._queued: dict[int, Entry] = {}  # a key's valid entry of the heap
        self._updates = 0

    def __len__(self) -> int:
        return len(self._current)

    def put(self, key: int, rank: float) -> None:
        """Give a key, new or not, its rank."""
        self._updates += 1
        entry = (rank, self._updates, key)
        self._current[key] = entry
        queued = self._queued.get(key)
        if queued is None or entry < queued:
            self._queued[key] = entry
            heappush(self._heap, entry)

    def remove(self, key: int) -> float:
        """Take a key out. Returns its rank."""
        del self._queued[key]
        if len(self._heap) > 2 * len(self._queued) + _SLACK:
            self._clear_away()
        return self._current.pop(key)[0]

    def _clear_away(self) -> None:
        self._heap = list(self._queued.values())
        heapify(self._heap)

    def __iter__(self) -> Iterator[int]:
        if not self._current:
            return
        self._settle()
        yield self._heap[0][2]
        yield from self._beyond_first()

    def _settle(self) -> None:
        """See that the first entry of the heap is up to date."""
        heap, current, queued = self._heap, self._current, self._queued
        while True:
            entry = heap[0]
            key = entry[2]
            newest = current.get(key)
            if newest is entry:
                return
            if newest is not None and queued[key] is entry:
                queued[key] = newest
                heapreplace(heap, newest)
            else:
                heappop(heap)

    def _beyond_first(self) -> Iterator[int]:
        """The others in order, without touching the heap: by a second heap of the places in it
        that are next in turn. Place 0 stands for what has been moved up in passing."""
        heap, current, queued = self._heap, self._current, self._queued
        frontier = [(heap[place], place) for place in (1, 2) if place < len(heap)]
        heapify(frontier)
        while frontier:
            entry, place = heappop(frontier)
            if place:
                for child in (2 * place + 1, 2 * place + 2):
                    if child < len(heap):
                        heappush(frontier, (heap[child], child))
            key = entry[2]
            newest = current.get(key)
            if newest is entry:
                yield key
            elif newest is not None and queued[key] is entry:
                heappush(frontier, (newest, 0))
