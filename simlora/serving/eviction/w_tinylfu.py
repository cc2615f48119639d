"""W-TinyLFU (Einziger, Friedman, Manes, ACM Transactions on Storage 13 (2017))."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from simlora.serving.eviction.base import PolicyContext, SizeAware
from simlora.serving.eviction.segment import Segment
from simlora.serving.eviction.slru import SLRU

MOST = 15  # what a counter holds
SAMPLE = 8  # accesses per resident adapter between two halvings


class WTinyLFU(SizeAware):
    """Newcomers come into a small LRU, the window. When something has to go, the oldest of the
    window moves into the main part, a segmented LRU; if that has no room left, it has to have been
    asked for more often of late than the main part's first victim, or goes instead.

    How often is counted exactly, for resident adapters and others, and halved now and then; there
    are few enough adapters to need no sketch.
    """

    def __init__(self, window_share: float = 0.01) -> None:
        self._window_share = window_share
        self._window = Segment()
        self._main = SLRU((0.2, 0.8))
        self._sizes: dict[int, int] = {}
        self._count: dict[int, int] = {}
        self._sampled = 0

    def bind(self, context: PolicyContext) -> None:
        super().bind(context)
        self._main.bind(context)

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._sizes[key] = nbytes
        self._window.append(key, nbytes)

    def on_access(self, key: int, now: float) -> None:
        self._sample(key)
        if key in self._window:
            self._window.move_to_end(key)
        else:
            self._main.on_access(key, now)

    def on_miss(self, key: int, now: float) -> None:
        self._sample(key)

    def on_remove(self, key: int) -> None:
        in_main = key in self._main
        for moving in self._moving():
            if moving != key:
                self._move(moving)
        if not in_main:
            self._window.take(key)
        else:
            self._main.on_remove(key)
            if self._window:
                self._move(next(iter(self._window)))
        del self._sizes[key]

    def victims(self) -> Iterator[int]:
        window, main = self._window, self._main
        moving = self._moving()
        if len(moving) == len(window):
            return chain(main.victims(), moving)
        staying = iter(window)
        for _ in moving:
            next(staying)
        candidate = next(staying)
        first = next(main.victims(), None)
        count = self._count
        if first is not None and count.get(candidate, 0) > count.get(first, 0):
            return chain(main.victims(), (candidate,), staying, moving)
        return chain((candidate,), main.victims(), staying, moving)

    def _moving(self) -> list[int]:
        """The oldest of the window, as far as the main part has room for them."""
        window, main = self._window, self._main
        room = (1 - self._window_share) * self._capacity(window.nbytes + main.nbytes) - main.nbytes
        moving = []
        for key, nbytes in window.items():
            room -= nbytes
            if room < 0:
                break
            moving.append(key)
        return moving

    def _move(self, key: int) -> None:
        self._main.on_insert(key, self._window.take(key), 0.0)

    def _sample(self, key: int) -> None:
        count = self._count
        seen = count.get(key, 0)
        if seen < MOST:
            count[key] = seen + 1
        self._sampled += 1
        if self._sampled >= SAMPLE * max(len(self._sizes), 1):
            self._sampled = 0
            self._count = {key: seen // 2 for key, seen in count.items() if seen > 1}
