"""Adapters in GPU memory: who has a slot or pages, who may leave, and who goes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from simlora.scenario.schema import HotTier as HotConfig
from simlora.serving.adapter_state import ABSENT, DRAINING, HOT, LOADING, AdapterState
from simlora.serving.eviction import EvictionPolicy
from simlora.serving.hot_size import HotSize
from simlora.serving.memory import MemoryPlan
from simlora.serving.memory_watcher import MemoryWatcher
from simlora.serving.page_pool import ADAPTER, PagePool
from simlora.serving.tier_stats import TierStats

GB = 1e9


class HotTier:
    """Bounded by a count, by bytes, or by nothing but the memory shared with the KV cache.

    `states` holds every adapter known to the replica; `bytes_of` tells what one takes here;
    `on_evict` is told what has left.
    """

    def __init__(
        self,
        config: HotConfig,
        plan: MemoryPlan,
        pool: PagePool,
        policy: EvictionPolicy,
        bytes_of: Callable[[int], int],
        keep_s: float,
        states: dict[int, AdapterState],
        stats: TierStats,
        on_evict: Callable[[AdapterState, float], None],
    ) -> None:
        self.count = 0
        self.loading_count = 0
        self.idle_pages = 0  # of adapters that may be evicted at once
        self.limit_rose = False  # since a load found no place; to be reset by who has seen it
        self._idle_count = 0
        self._size = HotSize(config.adaptive) if config.adaptive is not None else None
        self._most = inf if plan.max_hot_adapters is None else plan.max_hot_adapters
        self._most_pages = inf
        if config.capacity_gb is not None:
            self._most_pages = config.capacity_gb * GB / plan.page_bytes
        self._pool = pool
        self._policy = policy
        self._on_miss = getattr(policy, "on_miss", None)
        self._expired = getattr(policy, "expired", None)
        self._bytes_of = bytes_of
        self._keep_s = keep_s
        self._states = states
        self._stats = stats
        self._on_evict = on_evict
        self.watcher: MemoryWatcher | None = None

    def asked(self, state: AdapterState, now: float) -> None:
        """A request for the adapter has arrived. It leaves if its time is over."""
        if self._expired is not None and state.idle and self._expired(state.index, now):
            self.evict(state, now)
        if state.hot != ABSENT:
            self._policy.on_access(state.index, now)
        elif self._on_miss is not None:
            self._on_miss(state.index, now)
        if self._size is not None:
            before = self._size.limit(now)
            self._size.asked(state.index, now)
            if self._size.limit(now) > before:
                self.limit_rose = True

    # --- coming in ----------------------------------------------------------------------

    def _limit(self, now: float) -> float:
        return self._most if self._size is None else self._size.limit(now)

    def has_place(self, state: AdapterState, now: float, more: Sequence[AdapterState] = ()) -> bool:
        """Whether the bounds of this tier let the adapter in, after evictions if need be, also of
        `more` that are in use."""
        used = self.count - self._idle_count - len(more)
        used_pages = self._pool.held[ADAPTER] - self.idle_pages - sum(a.pages for a in more)
        return used < self._limit(now) and used_pages + state.pages <= self._most_pages

    def reserve(self, state: AdapterState, now: float) -> None:
        """Give the adapter, for which there is a place, its slot or pages, which must be free, and
        begin its load."""
        limit = self._limit(now)
        while self.count >= limit or self._pool.held[ADAPTER] + state.pages > self._most_pages:
            victim = self.next_victim(now)
            assert victim is not None
            self.evict(victim, now)
        if self.watcher is not None:
            self.watcher.load_started(state)
        self._pool.allocate(ADAPTER, state.pages)
        state.hot = LOADING
        self.count += 1
        self.loading_count += 1
        self._stats.loads += 1
        self._stats.loaded_bytes += state.nbytes
        self._policy.on_insert(state.index, self._bytes_of(state.index), now)

    def loaded(self, state: AdapterState, now: float) -> None:
        """The adapter's weights are here."""
        self.loading_count -= 1
        state.hot = HOT
        state.hot_since_s = now
        state.fresh = bool(state.waiting)
        if not state.fresh:
            state.last_used_s = now
            self._set_idle(state, 1)

    # --- in use -------------------------------------------------------------------------

    def use(self, state: AdapterState) -> None:
        """A request of the adapter, which is hot, joins the batch."""
        state.running += 1
        if state.fresh:
            state.fresh = False
        elif state.running == 1:
            self._set_idle(state, -1)

    def leave(self, state: AdapterState, now: float) -> None:
        """A request of the adapter leaves the batch."""
        state.running -= 1
        if self._keep_s:
            state.kept_until_s = now + self._keep_s
        if state.running == 0:
            self._set_idle(state, 1)
            if state.hot == DRAINING:
                self.evict(state, now)

    def _set_idle(self, state: AdapterState, sign: int) -> None:
        if not state.pinned:
            self.idle_pages += sign * state.pages
            self._idle_count += sign

    # --- leaving ------------------------------------------------------------------------

    def next_victim(self, now: float) -> AdapterState | None:
        """The adapter that would be evicted next: by the policy's order, the first of those that
        nobody uses and that need not be kept any longer; else the first of those to be kept."""
        if not self._idle_count:
            return None
        kept = None
        for index in self._policy.victims():
            state = self._states[index]
            if not state.idle:
                continue
            if state.kept_until_s <= now:
                return state
            kept = kept or state
        return kept

    def evict(self, state: AdapterState, now: float) -> None:
        """Drop an adapter that nobody uses."""
        if self.watcher is not None:
            self.watcher.evicted(state)
        self._set_idle(state, -1)
        state.hot = ABSENT
        state.unread = False
        self.count -= 1
        self._stats.evictions += 1
        if state.ahead:
            state.ahead = False
            self._stats.prefetches_wasted += 1
        self._pool.release(ADAPTER, state.pages)
        self._policy.on_remove(state.index)
        if not state.withdrawn:
            self._on_evict(state, now)

    def drain(self, state: AdapterState, now: float) -> None:
        """Drop an adapter that is withdrawn, now or when the last request leaves that uses it; one
        that is being loaded is dropped by a call when it is there."""
        if state.hot != HOT:
            return
        if state.fresh:
            self.give_up(state)
        if state.running:
            state.hot = DRAINING
        else:
            self.evict(state, now)

    def undrain(self, state: AdapterState) -> None:
        """An adapter that is still in use may be joined again."""
        if state.hot == DRAINING:
            state.hot = HOT

    def give_up_fresh(self) -> None:
        """Let adapters that were loaded ahead of their requests be evicted."""
        for index in self._policy.victims():
            state = self._states[index]
            if state.fresh:
                self.give_up(state)

    def give_up(self, state: AdapterState) -> None:
        """The request that the adapter was loaded for will not come."""
        state.fresh = False
        self._set_idle(state, 1)

    def check(self) -> None:
        """Raises AssertionError unless counts, pages and states agree."""
        resident = [s for s in self._states.values() if s.hot != ABSENT]
        idle = [state for state in resident if state.idle]
        held = self._pool.held[ADAPTER]
        assert len(resident) == self.count
        assert sum(s.pages for s in resident) == held
        assert (sum(s.pages for s in idle), len(idle)) == (self.idle_pages, self._idle_count)
        assert self.count <= self._most and held <= self._most_pages
        assert sum(s.hot == LOADING for s in resident) == self.loading_count
        for state in self._states.values():
            assert state.running >= 0
            assert not state.running or state.hot in (HOT, DRAINING)
            if state.hot == DRAINING:
                assert state.running and state.withdrawn
            if state.withdrawn:
                assert state.hot != HOT
