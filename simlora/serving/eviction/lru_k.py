"""LRU-K (O'Neil, O'Neil, Weikum, SIGMOD 1993)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from simlora.serving.eviction.ranking import Ranking


class LRUK:
    """Evicts the adapter whose `k`-th last access is longest ago; first of all, in the order they
    came in, those with fewer accesses. Accesses before an eviction are forgotten."""

    def __init__(self, k: int = 2) -> None:
        self._k = k
        self._accesses = 0
        self._last: dict[int, deque[int]] = {}  # numbers of a key's last accesses, k at most
        self._ranking = Ranking()

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._accesses += 1
        self._last[key] = deque((self._accesses,), self._k)
        self._ranking.put(key, self._accesses if self._k == 1 else 0)

    def on_access(self, key: int, now: float) -> None:
        self._accesses += 1
        last = self._last[key]
        last.append(self._accesses)
        if len(last) == self._k:
            self._ranking.put(key, last[0])

    def on_remove(self, key: int) -> None:
        del self._last[key]
        self._ranking.remove(key)

    def victims(self) -> Iterator[int]:
        return iter(self._ranking)
