"""2Q, full version (Johnson, Shasha, VLDB 1994)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from simlora.serving.eviction.base import SizeAware
from simlora.serving.eviction.segment import Ghost, Segment


class TwoQ(SizeAware):
    """Newcomers queue up in A1in; who leaves it is remembered in A1out, and who is asked for while
    remembered comes into Am, which is an LRU. Shares are of the tier's bytes."""

    def __init__(self, a1in_share: float = 0.25, a1out_share: float = 0.5) -> None:
        self._a1in_share = a1in_share
        self._a1out_share = a1out_share
        self._a1in = Segment()
        self._am = Segment()
        self._a1out = Ghost()

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        (self._am if self._a1out.claim(key) else self._a1in).append(key, nbytes)

    def on_access(self, key: int, now: float) -> None:
        if key in self._am:
            self._am.move_to_end(key)

    def on_miss(self, key: int, now: float) -> None:
        self._a1out.recall(key)

    def on_remove(self, key: int) -> None:
        if key in self._am:
            self._am.take(key)
            return
        limit_bytes = self._a1out_share * self._tier_bytes()
        self._a1out.remember(key, self._a1in.take(key), limit_bytes)

    def crowded(self, key: int, nbytes: int) -> bool:
        """Am leaves A1in its share, also of a tier that is not full."""
        if self._capacity_bytes is None or not (self._am and self._a1out.recalled(key)):
            return False
        am_limit = self._capacity_bytes - int(self._a1in_share * self._capacity_bytes)
        return self._am.nbytes + nbytes > am_limit

    def victims(self) -> Iterator[int]:
        if self._am and self._a1in.nbytes <= self._a1in_share * self._tier_bytes():
            return chain(self._am, self._a1in)
        return chain(self._a1in, self._am)

    def _tier_bytes(self) -> float:
        return self._capacity(self._a1in.nbytes + self._am.nbytes)
