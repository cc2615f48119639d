"""The bound (Belady, IBM Systems Journal 5 (1966))."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from math import inf

from simlora.serving.eviction.base import PolicyContext
from simlora.serving.eviction.ranking import Ranking


class Belady:
    """Evicts the adapter that will not be asked for the longest: with adapters of one size nobody
    hits more often. It has to be told the future, so it serves for comparison only."""

    def __init__(self) -> None:
        self._next_use: Callable[[int, float], float] | None = None
        self._ranking = Ranking()

    def bind(self, context: PolicyContext) -> None:
        if context.next_use is None:
            raise ValueError(
                "has to know every access ahead, as only simlora.serving.eviction.replay does; "
                "it cannot serve in a scenario"
            )
        self._next_use = context.next_use

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        assert self._next_use is not None
        self._ranking.put(key, -self._next_use(key, now))

    def on_access(self, key: int, now: float) -> None:
        assert self._next_use is not None
        self._ranking.put(key, -self._next_use(key, now))

    def on_remove(self, key: int) -> None:
        self._ranking.remove(key)

    def victims(self) -> Iterator[int]:
        return iter(self._ranking)


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
