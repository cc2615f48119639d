"""Least frequently used."""

from __future__ import annotations

from collections.abc import Iterator

from simlora.serving.eviction.ranking import Ranking


class LFU:
    """Evicts the adapter with the fewest accesses since it came in, of equals the one not used for
    longest.

    With `ageing` what was popular once gives way in time: counts are ranked on top of the rank that
    the last evicted had (LFU-DA; Arlitt et al., Performance Evaluation Review 27 (2000)).
    """

    def __init__(self, ageing: bool = False) -> None:
        self._ageing = ageing
        self._age = 0.0
        self._count: dict[int, int] = {}
        self._ranking = Ranking()

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._count[key] = 1
        self._ranking.put(key, self._age + 1)

    def on_access(self, key: int, now: float) -> None:
        count = self._count[key] = self._count[key] + 1
        self._ranking.put(key, self._age + count)

    def on_remove(self, key: int) -> None:
        del self._count[key]
        rank = self._ranking.remove(key)
        if self._ageing:
            self._age = rank

    def victims(self) -> Iterator[int]:
        return iter(self._ranking)


class LFUDA(LFU):
    """LFU with dynamic ageing."""

    def __init__(self) -> None:
        super().__init__(ageing=True)
