"""First in, first out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator


class FIFO:
    """Evicts the adapter that came in longest ago."""

    def __init__(self) -> None:
        self._order: OrderedDict[int, None] = OrderedDict()

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._order[key] = None

    def on_access(self, key: int, now: float) -> None:
        pass

    def on_remove(self, key: int) -> None:
        del self._order[key]

    def victims(self) -> Iterator[int]:
        return iter(self._order)
