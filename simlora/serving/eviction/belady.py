"""The bound (Belady, IBM Systems Journal 5 (1966))."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush
from math import inf

from simlora.serving.eviction.base import PolicyContext
from simlora.serving.eviction.ranking import Ranking


class Belady:
    """Evicts the adapter that will not be asked for the longest: with adapters of one size nobody
    hits more often. It has to be told the future, so it serves for comparison only."""

    def __init__(self) -> None:
        self._next_use: Callable[[int, float], float] | None = None
        self._ranking = Ranking()
        self._due: list[tuple[float, int]] = []  # next uses as told, the soonest first
        self._told: dict[int, float] = {}

    def bind(self, context: PolicyContext) -> None:
        if context.next_use is None:
            raise ValueError("has to know every access ahead, and nobody does here")
        self._next_use = context.next_use

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._rank(key, now)
        self._catch_up(now)

    def on_access(self, key: int, now: float) -> None:
        self._rank(key, now)
        self._catch_up(now)

    def on_remove(self, key: int) -> None:
        self._ranking.remove(key)
        del self._told[key]

    def victims(self) -> Iterator[int]:
        return iter(self._ranking)

    def _rank(self, key: int, now: float) -> None:
        assert self._next_use is not None
        told = self._told[key] = self._next_use(key, now)
        self._ranking.put(key, -told)
        if told < inf:
            heappush(self._due, (told, key))

    def _catch_up(self, now: float) -> None:
        """Look again at keys whose next use has passed without a request: it was turned away."""
        while self._due and self._due[0][0] < now:
            told, key = heappop(self._due)
            if self._told.get(key) == told:
                self._rank(key, now)


class Future:
    """The times at which each key will be asked for."""

    def __init__(self, accesses: Iterable[tuple[int, float]]) -> None:
        """`accesses` are keys and times in the order of time."""
        self._times: dict[int, list[float]] = {}
        for key, time in accesses:
            self._times.setdefault(key, []).append(time)

    def next_use(self, key: int, now: float) -> float:
        """The first access to `key` after `now`; infinity if there is none."""
        times = self._times.get(key, [])
        place = bisect_right(times, now)
        return times[place] if place < len(times) else inf
