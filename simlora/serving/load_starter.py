"""Which adapters are given GPU memory next."""

from __future__ import annotations

from heapq import heapify, heappop
from typing import TYPE_CHECKING

from simlora.serving.adapter_state import AdapterState
from simlora.serving.request import Request

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler


class LoadStarter:
    """Starts loads at the step boundaries of one scheduler: of adapters that requests wait for, in
    the order of the queue; then of those that are wanted ahead.

    A load that found no memory is not tried again until some may have come free.
    """

    def __init__(
        self, scheduler: BatchScheduler, max_seqs: int, *, blocking: bool, preempts: bool
    ) -> None:
        self._scheduler = scheduler
        self._memory = scheduler.memory
        self._tiers = scheduler.tiers
        self._max_seqs = max_seqs
        self._unified = scheduler.memory.plan.unified
        self._blocking = blocking
        self._preempts = preempts
        self._stalled = self._ahead_stalled = False
        # When a load last stalled with a prompt still computed by a request that may be preempted.
        self._prompts_at_s: float | None = None

    def retry(self) -> None:
        """Memory or a slot may have come free."""
        self._stalled = self._ahead_stalled = False

    def may_start(self, now: float) -> bool:
        """Whether the adapter at the head of the backlog may be given GPU memory now.

        Adapters loaded far ahead of the batch would only take memory from it, so those of the
        requests that come before, with such an adapter and prompt each, must fit along with it.
        """
        scheduler = self._scheduler
        if not self._tiers.backlog or (self._stalled and not self._tiers.hot.limit_rose):
            return False
        if scheduler.admitter.blocked and self._unified and not self._preempts:
            return False
        ahead = len(scheduler.running) + self._tiers.hot.loading_count
        if ahead >= self._max_seqs:
            return False
        state = self._head(now)
        if state is None:
            return False
        queue = scheduler.queue
        first = queue.peek(now)
        if first is not None and queue.rank(first, now) < queue.rank(state.waiting[0], now):
            ahead += len(queue)
        if ahead >= self._max_seqs:
            return False
        prompt_blocks = self._memory.blocks(state.waiting[0].prompt_tokens)
        pages = state.pages + prompt_blocks * self._memory.block_pages
        return not self._unified or ahead * pages <= self._memory.pool.pages

    def may_start_ahead(self) -> bool:
        """Whether an adapter that nobody waits for may be given GPU memory now."""
        return (
            bool(self._tiers.ahead)
            and (not self._ahead_stalled or self._tiers.hot.limit_rose)
            and not self._scheduler.admitter.blocked
            and self._tiers.hot.loading_count < self._max_seqs
        )

    def start(self, now: float) -> None:
        """Give GPU memory to the adapters that requests wait for."""
        if self._tiers.hot.limit_rose:
            self._tiers.hot.limit_rose = False
            self.retry()
        if self._prompts_at_s is not None and now > self._prompts_at_s:
            self._stalled = False
        while self.may_start(now) and (state := self._head(now)) is not None:
            if not self._reserve(state, now) and not (
                self._preempts and self._preempt_for(state, now)
            ):
                self._stalled = True
                return
            self._take(state)
            self._begin(state, now)

    def _head(self, now: float) -> AdapterState | None:
        """The adapter of the backlog whose first request is to be served next; where places in the
        queue do not change, the backlog is a heap of them."""
        backlog = self._tiers.backlog
        while backlog and not backlog[0][2].wanted:
            heappop(backlog)
        if not backlog or self._scheduler.ordered:
            return backlog[0][2] if backlog else None
        rank = self._scheduler.queue.rank
        states = [state for _, _, state in backlog if state.wanted]
        return min(states, key=lambda state: (rank(state.waiting[0], now), state.index))

    def _take(self, state: AdapterState) -> None:
        backlog = self._tiers.backlog
        if backlog[0][2] is state:
            heappop(backlog)
        else:
            backlog[:] = [entry for entry in backlog if entry[2] is not state]
            heapify(backlog)

    def start_ahead(self, now: float) -> None:
        """Give GPU memory that is free, or that holds what is only cached, to the adapters that
        are wanted ahead."""
        while self.may_start_ahead() and (state := self._tiers.next_ahead()) is not None:
            if not self._reserve(state, now):
                self._ahead_stalled = True
                return
            self._tiers.ahead.popleft()
            self._begin(state, now)

    def _reserve(self, state: AdapterState, now: float) -> bool:
        growth_pages = self._scheduler.decodes.next_blocks() * self._memory.block_pages
        return self._memory.reserve_adapter(state, now, growth_pages)

    def _preempt_for(self, state: AdapterState, now: float) -> bool:
        """Preempt decoding requests that overtook the one that waits for the adapter, the last
        admitted first, until the adapter can be loaded. False if it cannot although none of them
        is left; where the bounds on hot adapters are in the way, nobody is preempted in vain."""
        scheduler = self._scheduler
        key = scheduler.key(state.waiting[0])
        younger = [r for r in reversed(scheduler.running.values()) if scheduler.key(r) > key]
        # A prompt that is not done may have its chunk in the coming step; after it, try again.
        decoding = [request for request in younger if request.finish_step >= 0]
        self._prompts_at_s = now if len(decoding) < len(younger) else None
        in_place = self._in_place_of(state, decoding, now)
        if in_place is None:
            return False
        in_its_memory = [request for request in decoding if request not in in_place]
        for request in in_place:
            scheduler.preempt(request, now)
        while not self._reserve(state, now):
            if not in_its_memory:
                return False
            scheduler.preempt(in_its_memory.pop(0), now)
        return True

    def _in_place_of(
        self, state: AdapterState, requests: list[Request], now: float
    ) -> list[Request] | None:
        """Those of the requests without whom the bounds on hot adapters would let the adapter in;
        None if they would not without any. An adapter must be left by all who use it."""
        users: dict[int, list[Request]] = {}
        for request in requests:
            if request.adapter_state is not None and not request.adapter_state.pinned:
                users.setdefault(request.adapter, []).append(request)
        chosen: list[Request] = []
        freed: list[AdapterState] = []
        for adapter, of_one in users.items():
            if self._tiers.hot.has_place(state, now, freed):
                break
            used = self._tiers.state(adapter)
            if len(of_one) == used.running:
                chosen += of_one
                freed.append(used)
        return chosen if self._tiers.hot.has_place(state, now, freed) else None

    def _begin(self, state: AdapterState, now: float) -> None:
        if self._blocking:
            self._scheduler.plan.block_for(state, self._tiers.book_alone(state, now))
            self._scheduler.became_hot(state, now)
        else:
            self._tiers.outbox.append(self._tiers.gpu_copy(state, now))
