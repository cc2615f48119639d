"""Greedy-Dual-Size with frequency (Cherkasova, HP Labs HPL-98-69R1, 1998)."""

from __future__ import annotations

from collections.abc import Iterator

from simlora.serving.eviction.base import PolicyContext
from simlora.serving.eviction.ranking import Ranking

MEGABYTE = 1e6


class GDSF:
    """Evicts the adapter with the least `inflation + accesses x reload time / size`.

    The inflation is the rank of what was evicted last, as it stood at the access: so what is not
    used any more is overtaken. An adapter that comes in has the inflation from before the
    evictions that made room for it.
    """

    def __init__(self) -> None:
        self._reload_s = PolicyContext().reload_s
        self._inflation = 0.0
        self._next_inflation = 0.0
        self._count: dict[int, int] = {}
        self._megabytes: dict[int, float] = {}
        self._ranking = Ranking()

    def bind(self, context: PolicyContext) -> None:
        self._reload_s = context.reload_s

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._count[key] = 1
        self._megabytes[key] = max(nbytes, 1) / MEGABYTE
        self._rank(key, 1)
        self._inflation = self._next_inflation

    def on_access(self, key: int, now: float) -> None:
        self._inflation = self._next_inflation
        count = self._count[key] = self._count[key] + 1
        self._rank(key, count)

    def _rank(self, key: int, count: int) -> None:
        gain = count * self._reload_s(key) / self._megabytes[key]
        self._ranking.put(key, self._inflation + gain)

    def on_remove(self, key: int) -> None:
        del self._count[key], self._megabytes[key]
        self._next_inflation = self._ranking.remove(key)

    def victims(self) -> Iterator[int]:
        return iter(self._ranking)
