"""Which adapters are given GPU memory next."""

from __future__ import annotations

from heapq import heappop
from typing import TYPE_CHECKING

from simlora.serving.adapter_state import AdapterState

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

    def retry(self) -> None:
        """Memory or a slot may have come free."""
        self._stalled = self._ahead_stalled = False

    def may_start(self) -> bool:
        """Whether the adapter at the head of the backlog may be given GPU memory now.

        Adapters loaded far ahead of the batch would only take memory from it, so those of the
        requests that come before, with such an adapter and prompt each, must fit along with it.
        """
        scheduler, backlog = self._scheduler, self._tiers.backlog
        if not backlog or self._stalled:
            return False
        if scheduler.admission_blocked and self._unified and not self._preempts:
            return False
        key, _, state = backlog[0]
        ahead = len(scheduler.running) + self._tiers.hot.loading_count
        first = scheduler.first_ready_key()
        if first is not None and first < key:
            ahead += scheduler.ready_count
        if ahead >= self._max_seqs:
            return False
        prompt_blocks = self._memory.blocks(state.waiting[0].prompt_tokens)
        pages = state.pages + prompt_blocks * self._memory.block_pages
        return not self._unified or ahead * pages <= self._memory.pool.pages

    def may_start_ahead(self) -> bool:
        """Whether an adapter that nobody waits for may be given GPU memory now."""
        return (
            bool(self._tiers.ahead)
            and not self._ahead_stalled
            and not self._scheduler.admission_blocked
            and self._tiers.hot.loading_count < self._max_seqs
        )

    def start(self, now: float) -> None:
        """Give GPU memory to the adapters that requests wait for."""
        backlog = self._tiers.backlog
        while self.may_start():
            state = backlog[0][2]
            if not self._reserve(state, now) and not (
                self._preempts and self._preempt_for(state, now)
            ):
                self._stalled = True
                return
            heappop(backlog)
            self._begin(state, now)

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
        is left."""
        scheduler = self._scheduler
        key = scheduler.key(state.waiting[0])
        for request in reversed(list(scheduler.running.values())):
            # A prompt that is not done may have its chunk in the coming step.
            if request.finish_step >= 0 and scheduler.key(request) > key:
                scheduler.preempt(request, now)
                if self._reserve(state, now):
                    return True
        return False

    def _begin(self, state: AdapterState, now: float) -> None:
        if self._blocking:
            self._scheduler.block_for(state)
            self._tiers.book_alone(state, now)
            self._scheduler.became_hot(state, now)
        else:
            self._tiers.outbox.append(self._tiers.gpu_copy(state, now))
