"""Segmented LRU (Karedla, Love, Wherry, Computer 27 (1994)), with any number of segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from simlora.serving.eviction.base import SizeAware
from simlora.serving.eviction.segment import Segment


class SLRU(SizeAware):
    """LRUs one above the other. An access lifts an adapter into the next segment; what a segment
    has no room for falls into the one below; the lowest is evicted from. `shares` are the segments'
    parts of the tier's bytes, the lowest first."""

    def __init__(self, shares: Sequence[float] = (0.25, 0.25, 0.25, 0.25)) -> None:
        self._shares = shares
        self._segments = [Segment() for _ in shares]
        self._level: dict[int, int] = {}  # the segment of each key
        self.nbytes = 0

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        """Into the lowest segment, but for a tier that is not full yet: there into the lowest
        with room."""
        capacity = self._tier_bytes()
        level = 0
        for candidate, (segment, share) in enumerate(
            zip(self._segments, self._shares, strict=True)
        ):
            if segment.nbytes + nbytes <= int(share * capacity):
                level = candidate
                break
        self._segments[level].append(key, nbytes)
        self._level[key] = level
        self.nbytes += nbytes

    def on_access(self, key: int, now: float) -> None:
        level = self._level[key]
        segments = self._segments
        if level == len(segments) - 1:
            segments[level].move_to_end(key)
            return
        segments[level + 1].append(key, segments[level].take(key))
        self._level[key] = level + 1
        capacity = self._tier_bytes()
        for upper in range(level + 1, 0, -1):
            segment = segments[upper]
            while segment.nbytes > int(self._shares[upper] * capacity) and len(segment) > 1:
                falling, nbytes = segment.take_oldest()
                segments[upper - 1].append(falling, nbytes)
                self._level[falling] = upper - 1

    def on_remove(self, key: int) -> None:
        self.nbytes -= self._segments[self._level.pop(key)].take(key)

    def victims(self) -> Iterator[int]:
        return chain.from_iterable(self._segments)

    def __contains__(self, key: int) -> bool:
        return key in self._level

    def _tier_bytes(self) -> float:
        return self._capacity(self.nbytes)
