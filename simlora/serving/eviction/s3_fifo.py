"""S3-FIFO (Yang et al., SOSP 2023)."""

from __future__ import annotations

from collections.abc import Iterator

from simlora.serving.eviction.base import SizeAware
from simlora.serving.eviction.segment import Ghost, Segment

MOST = 3  # accesses that are counted


class S3FIFO(SizeAware):
    """Newcomers queue up in a small FIFO. Who was asked for twice by the time he would leave it
    moves to the main FIFO, the others are evicted and remembered for a while; who is asked for
    while remembered comes into the main FIFO, where each access is worth one more round."""

    def __init__(
        self, small_share: float = 0.1, ghost_share: float = 0.9, promote_at: int = 2
    ) -> None:
        self._small_share = small_share
        self._ghost_share = ghost_share
        self._promote_at = promote_at
        self._small, self._main = Segment(), Segment()
        self._ghost = Ghost()
        self._count: dict[int, int] = {}
        self._filling = True  # nothing has been evicted yet

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        small = self._small
        small_full = small.nbytes >= self._small_share * self._tier_bytes()
        to_main = self._ghost.claim(key) or (self._filling and small_full)
        (self._main if to_main else small).append(key, nbytes)
        self._count[key] = 0

    def on_access(self, key: int, now: float) -> None:
        count = self._count[key]
        if count < MOST:
            self._count[key] = count + 1

    def on_miss(self, key: int, now: float) -> None:
        self._ghost.recall(key)

    def on_remove(self, key: int) -> None:
        """Both queues are worked off up to `key`. Who would have gone before it stays."""
        self._filling = False
        capacity = self._tier_bytes()
        in_small = key in self._small
        if in_small and self._count[key] < self._promote_at:
            self._promote_until(key)
            self._ghost.remember(key, self._small.take(key), self._ghost_share * capacity)
        else:  # of the main queue, or moved there before a victim was found
            if in_small or not self._main_first():
                self._promote_until(-1)
            self._turn_main_to(key)
        del self._count[key]

    def _promote_until(self, key: int) -> None:
        """Move those of the small queue who are in front of `key` and deserve it."""
        small, count = self._small, self._count
        promoted = []
        for other in small:
            if other == key:
                break
            if count[other] >= self._promote_at:
                promoted.append(other)
        for other in promoted:
            self._main.append(other, small.take(other))
            count[other] = 0

    def _turn_main_to(self, key: int) -> None:
        """Let those of the main queue in front of `key` go round, until it has no round left."""
        main, count = self._main, self._count
        while True:
            passing = next(iter(main))
            left = count[passing]
            if passing == key and not left:
                main.take(key)
                return
            count[passing] = max(0, left - 1)
            main.move_to_end(passing)

    def victims(self) -> Iterator[int]:
        small, count, promote_at = self._small, self._count, self._promote_at
        main_first = self._main_first()
        if main_first:
            yield from self._main_victims()
        for key in small:
            if count[key] < promote_at:
                yield key
        if not main_first:
            yield from self._main_victims(last_of_round=True)
        else:
            yield from self._promotable()

    def _main_first(self) -> bool:
        main_limit = (1 - self._small_share) * self._tier_bytes()
        return self._main.nbytes > main_limit or not self._small

    def _main_victims(self, last_of_round: bool = False) -> Iterator[int]:
        """The main queue by rounds left. `last_of_round`: those who would be promoted first join
        it behind, with none left."""
        count = self._count
        left = 0
        most = 0
        while left <= most:
            for key in self._main:
                rounds = count[key]
                if rounds == left:
                    yield key
                elif rounds > most:
                    most = rounds
            if last_of_round and not left:
                yield from self._promotable()
            left += 1

    def _promotable(self) -> Iterator[int]:
        return (key for key in self._small if self._count[key] >= self._promote_at)

    def _tier_bytes(self) -> float:
        return self._capacity(self._small.nbytes + self._main.nbytes)
