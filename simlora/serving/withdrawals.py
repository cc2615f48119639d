"""Requests that leave a replica before they have had all the tokens that they asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlora.serving.draining import Draining
from simlora.serving.request import COMPLETED, FAILED, RUNNING, WAITING, Request

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler


class Withdrawals:
    """Takes requests out of one scheduler: answered early, given up by the gateway, failed with
    their adapter, driven out by the loss of the replica, or left over at the end of the run."""

    def __init__(self, scheduler: BatchScheduler) -> None:
        self._scheduler = scheduler
        self.pending: dict[int, tuple[Request, str]] = {}  # to leave the batch at the next boundary
        self.draining = Draining(scheduler, self)

    @property
    def due(self) -> bool:
        """Whether there is anything to carry out at the next step boundary."""
        return bool(self.pending) or self.draining.pending

    def give_up(self, request: Request, reason: str, now: float) -> None:
        """The request fails: at once if it waits, at the next step boundary if it is running."""
        if request.status == RUNNING:
            self.pending[request.index] = (request, reason)
        else:
            self._scheduler.forget(request)
            # It may have been the one that found no memory; the next in the queue may find some.
            self._scheduler.admitter.blocked = False
            self._fail(request, reason, now)

    def end_early(self, request: Request, now: float) -> None:
        """A decoding request has said all that it will, at a step boundary: it is complete, as if
        it had asked for just the tokens that it has had. Raises ValueError if it is not decoding.
        """
        scheduler = self._scheduler
        if request.status != RUNNING or request.finish_step < 0:
            raise ValueError(f"request {request.index} is not decoding")
        kv_tokens = request.kv_offset + scheduler.decodes.step_count
        scheduler.memory.adopt_prefix(request, kv_tokens, now)
        scheduler.drop(request, now)
        request.output_tokens = request.emitted_tokens
        request.status = COMPLETED
        request.finish_s = now
        scheduler.over(request)

    def carry_out(self, now: float) -> None:
        """A step boundary: those who were to leave the batch do, if they have not finished; then
        adapters are withdrawn."""
        for request, reason in self.pending.values():
            if request.status == RUNNING:
                self._scheduler.drop(request, now)
                self._fail(request, reason, now)
        self.pending.clear()
        self.draining.carry_out(now)

    def fail_waiting(self, requests: list[Request], reason: str, now: float) -> None:
        """Requests fail that nothing here holds any more."""
        for request in requests:
            self._fail(request, reason, now)

    def _fail(self, request: Request, reason: str, now: float) -> None:
        self._scheduler.phases.cut(request, now)
        request.status = FAILED
        request.reason = reason
        request.finish_s = now
        self._scheduler.over(request)

    def evacuate(self, now: float) -> list[Request]:
        """The replica is lost with its memory. Returns all of its requests by arrival, as they wait
        to go on elsewhere from the tokens that they had; the scheduler is good for nothing more."""
        scheduler = self._scheduler
        running = list(scheduler.running.values())
        for request in running:
            if request.finish_step >= 0:
                request.emitted_tokens = scheduler.decodes.emitted_tokens(request)
            scheduler.phases.lost(request, now)
            request.finish_step = -1
            request.preemptions += 1
            request.status = WAITING
        everyone = [*running, *scheduler.waiting_requests()]
        for request in everyone:
            request.adapter_state = request.prefix_nodes = None
        for request, reason in self.pending.values():
            if request.status == WAITING:
                everyone.remove(request)
                self._fail(request, reason, now)
        scheduler.preemptions += len(running)
        scheduler.outstanding = 0
        scheduler.memory.pool.release_all()
        return sorted(everyone, key=lambda request: request.index)

    def cut(self, now: float) -> list[Request]:
        """The run ends here. Books what the unfinished requests have had so far, and returns them
        by arrival."""
        scheduler = self._scheduler
        for request in scheduler.running.values():
            if request.finish_step >= 0:
                request.emitted_tokens = scheduler.decodes.emitted_tokens(request)
        everyone = [*scheduler.running.values(), *scheduler.waiting_requests()]
        for request in everyone:
            scheduler.phases.cut(request, now)
        return sorted(everyone, key=lambda request: request.index)
