"""ARC (Megiddo, Modha, FAST 2003)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from simlora.serving.eviction.base import PolicyContext, SizeAware
from simlora.serving.eviction.segment import Ghost, Segment

MOST_REMEMBERED = 4  # capacities, by each of B1 and B2


class ARC(SizeAware):
    """Two LRUs, T1 of what was asked for once and T2 of the rest, with memories B1 and B2 of what
    they evicted. Being asked for what B1 remembers raises the share that T1 is to have, B2 lowers
    it. The paper's pages are `unit_bytes` of the context where the share is moved, and bytes
    elsewhere.

    B1 is to keep within the capacity together with T1, and all four within twice that. With
    adapters of several sizes this is held on the average: for each eviction one memory is given
    up, as libCacheSim does.
    """

    def __init__(self) -> None:
        self._t1, self._t2 = Segment(), Segment()
        self._b1, self._b2 = Ghost(), Ghost()
        self._t1_target = 0.0  # bytes; `p` in the paper
        self._unit_bytes = PolicyContext().unit_bytes
        self._wanted_of_b2 = False  # whether B2 remembered the last key missed
        self._evictions = 0  # since the last insert

    def bind(self, context: PolicyContext) -> None:
        super().bind(context)
        self._unit_bytes = context.unit_bytes

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        known = self._b1.claim(key) or self._b2.claim(key)
        if not known:
            self._give_up(nbytes)
        (self._t2 if known else self._t1).append(key, nbytes)
        self._wanted_of_b2 = False
        self._evictions = 0

    def _give_up(self, incoming_bytes: int) -> None:
        """Forget as much as has been evicted for a key that nothing is known of."""
        t1, t2, b1, b2 = self._t1, self._t2, self._b1, self._b2
        capacity = self._capacity(t1.nbytes + t2.nbytes + incoming_bytes)
        for _ in range(self._evictions):
            once_bytes = t1.nbytes + b1.nbytes
            if once_bytes + incoming_bytes > capacity:
                b1.forget_oldest()
            elif once_bytes + t2.nbytes + b2.nbytes >= 2 * capacity:
                b2.forget_oldest()

    def on_access(self, key: int, now: float) -> None:
        if key in self._t2:
            self._t2.move_to_end(key)
        else:
            self._t2.append(key, self._t1.take(key))

    def on_miss(self, key: int, now: float) -> None:
        b1, b2 = self._b1, self._b2
        b1_bytes, b2_bytes = b1.nbytes, b2.nbytes
        self._wanted_of_b2 = False
        if b1.recall(key):
            step_bytes = self._unit_bytes * max(1.0, b2_bytes / b1_bytes)
            most_bytes = self._capacity(self._t1.nbytes + self._t2.nbytes)
            self._t1_target = min(self._t1_target + step_bytes, most_bytes)
        elif b2.recall(key):
            step_bytes = self._unit_bytes * max(1.0, b1_bytes / b2_bytes)
            self._t1_target = max(self._t1_target - step_bytes, 0.0)
            self._wanted_of_b2 = True

    def on_remove(self, key: int) -> None:
        self._evictions += 1
        limit_bytes = MOST_REMEMBERED * self._capacity(self._t1.nbytes + self._t2.nbytes)
        if key in self._t1:
            self._b1.remember(key, self._t1.take(key), limit_bytes)
        else:
            self._b2.remember(key, self._t2.take(key), limit_bytes)

    def victims(self) -> Iterator[int]:
        t1, t2, target = self._t1, self._t2, self._t1_target
        if t1.nbytes > target or (t1.nbytes == target and self._wanted_of_b2):
            return chain(t1, t2)
        return chain(t2, t1)
