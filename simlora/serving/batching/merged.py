"""Merged mode: the adapter that most requests ask for is folded into the base weights."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from math import inf

from simlora.scenario.engine import Merged
from simlora.serving.adapter_state import HOT, AdapterState
from simlora.serving.adapter_tiers import AdapterTiers
from simlora.serving.batching.base import BatchRule, Push
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.request import Request

KEEP = 0.75  # of the share that it takes to merge, what it takes to stay so: less would flutter


class _Change(Enum):
    DRAIN = auto()  # only the dominant adapter's requests join, until they are alone
    MERGE = auto()
    MIX = auto()


class Merging(BatchRule):
    """After dLoRA (OSDI 2024), which merges and unmerges by the mix of what is asked.

    Counted are the requests that have been here within `window_s`. When one adapter has `share` of
    them, no others join; those in the batch finish, and then it is merged: its requests run without
    LoRA's part of a step, and nobody else can run. It ends when the adapter's share falls below
    `KEEP` times that, when others have waited `max_wait_s` since they were first refused, or when
    the adapter has lost its place in GPU memory. Those others are all in the batch before the next
    merge; after any other end the window must pass first. A merge or unmerge stalls the engine for
    `switch_s`.
    """

    def __init__(
        self, tiers: AdapterTiers, running: dict[int, Request], options: Merged, push: Push
    ) -> None:
        super().__init__(push)
        self.merged = False
        self.switches = 0  # merges and unmerges
        self.stall_s = 0.0  # of switches, that no step has been charged with yet
        self._tiers = tiers
        self._running = running
        self._options = options
        self._dominant: AdapterState | None = None  # merged, or to be
        self._merged_s = 0.0  # in merged spells that are over
        self._merged_at_s = 0.0
        self._parked_at_s: dict[int, float] = {}  # in order
        self._owed: set[int] = set()  # had waited too long and have not joined since
        self._not_before_s = options.window_s
        self._here: dict[int, int] = {}  # requests within the window, by adapter
        self._most = LazyHeap()  # adapters, by the number of requests
        self._total = 0
        self._gone: deque[tuple[float, int]] = deque()  # (leaves the window, adapter)

    def merged_s(self, now: float) -> float:
        """Seconds spent in merged mode up to now."""
        return self._merged_s + (now - self._merged_at_s if self.merged else 0.0)

    def take_stall_s(self) -> float:
        """What the coming step takes longer for switches."""
        stall_s, self.stall_s = self.stall_s, 0.0
        return stall_s

    # --- who may join -------------------------------------------------------------------

    def allows(self, request: Request, now: float) -> bool:
        return self._dominant is None or request.adapter_state is self._dominant

    def park(self, request: Request, now: float) -> None:
        super().park(request, now)
        self._parked_at_s[request.index] = now

    def unpark(self, request: Request) -> None:
        super().unpark(request)
        del self._parked_at_s[request.index]

    def joined(self, request: Request, now: float) -> None:
        self._owed.discard(request.index)

    # --- what is asked ------------------------------------------------------------------

    def came(self, request: Request, now: float) -> None:
        self._count(_adapter(request), 1)

    def over(self, request: Request, now: float) -> None:
        self._owed.discard(request.index)
        self._gone.append((now + self._options.window_s, _adapter(request)))

    def _count(self, adapter: int, sign: int) -> None:
        self._total += sign
        if adapter >= 0:
            here = self._here[adapter] = self._here.get(adapter, 0) + sign
            self._most.put(adapter, (-here,))
            if not here:
                del self._here[adapter]
                self._most.remove(adapter)

    def _forget_old(self, now: float) -> None:
        while self._gone and self._gone[0][0] <= now:
            self._count(self._gone.popleft()[1], -1)

    # --- switches -----------------------------------------------------------------------

    def tick(self, now: float) -> None:
        self._forget_old(now)
        while (change := self._due(now)) is not None:
            if change is _Change.DRAIN:
                self._dominant = self._tiers.state(self._most.first())
            elif change is _Change.MERGE:
                self.merged, self._merged_at_s = True, now
                self._switch()
            else:
                self._mix(now)

    def _due(self, now: float) -> _Change | None:
        """What is to change now."""
        state = self._dominant
        if state is None:
            return _Change.DRAIN if self._may_drain(now) else None
        here = self._here.get(state.index, 0)
        fell = here < KEEP * self._options.share * self._total
        if fell or state.hot != HOT or self._wait_over_s() <= now:
            return _Change.MIX
        if not self.merged and len(self._running) == state.running:
            return _Change.MERGE
        return None

    def _may_drain(self, now: float) -> bool:
        if now < self._not_before_s or self._owed or not self._most:
            return False
        most = self._most.first()
        if self._here[most] < self._options.share * self._total:
            return False
        return self._tiers.is_hot(most)

    def _wait_over_s(self) -> float:
        """When the first that was refused will have waited too long."""
        for parked_at_s in self._parked_at_s.values():
            return parked_at_s + self._options.max_wait_s
        return inf

    def _mix(self, now: float) -> None:
        """Everybody may join again."""
        if self._wait_over_s() <= now:
            self._owed.update(self.parked)
        else:
            self._not_before_s = now + self._options.window_s
        if self.merged:
            self._merged_s += now - self._merged_at_s
            self.merged = False
            self._switch()
        self._dominant = None
        for request in list(self.parked.values()):
            self.release(request, now)

    def _switch(self) -> None:
        self.switches += 1
        self.stall_s += self._options.switch_s

    def wake_at_s(self, now: float) -> float:
        self._forget_old(now)
        if self._due(now) is not None:
            return now
        at_s = self._gone[0][0] if self._gone else inf
        if self._dominant is not None:
            return min(at_s, self._wait_over_s())
        return min(at_s, self._not_before_s) if self._not_before_s > now else at_s


def _adapter(request: Request) -> int:
    """What the request is computed with; -1: the base model."""
    return -1 if request.base_fallback else request.adapter
