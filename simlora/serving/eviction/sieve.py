"""SIEVE (Zhang et al., NSDI 2024)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator


class Sieve:
    """A hand goes round the adapters from the oldest to the newest and evicts the first that was
    not asked for since it last passed. What is kept stays in its place; newcomers join at the end.

    The queue is cut where the hand stands: `_passed` is the part with the oldest, `_ahead` the part
    up to the newest. `_ahead` is empty only if all is.
    """

    def __init__(self) -> None:
        self._passed: OrderedDict[int, None] = OrderedDict()
        self._ahead: OrderedDict[int, None] = OrderedDict()
        self._visited: set[int] = set()

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._ahead[key] = None

    def on_access(self, key: int, now: float) -> None:
        self._visited.add(key)

    def on_remove(self, key: int) -> None:
        """The hand moves to `key`. What it would have evicted, had it been free to go, stays."""
        visited = self._visited
        while True:
            passing, _ = self._ahead.popitem(last=False)
            gone = passing == key and key not in visited
            if not gone:
                visited.discard(passing)
                self._passed[passing] = None
            if not self._ahead:
                self._ahead, self._passed = self._passed, self._ahead
            if gone:
                return

    def victims(self) -> Iterator[int]:
        visited = self._visited
        for part in (self._ahead, self._passed):
            for key in part:
                if key not in visited:
                    yield key
        if visited:  # the hand comes round again
            for part in (self._ahead, self._passed):
                for key in part:
                    if key in visited:
                        yield key
