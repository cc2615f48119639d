"""A bound on how long requests are passed over because their adapters are not in GPU memory."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify
from typing import TYPE_CHECKING

from simlora.serving.adapter_state import AdapterState
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import Request

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler

Backlog = list[tuple[float, int, AdapterState]]  # AdapterTiers.backlog


class PassOver:
    """Once a request has waited `bound_s` for its adapter, nothing that comes after it in the queue
    is admitted until the adapter is there. With 0 every cold request is waited for, which is strict
    first come, first served: head-of-line blocking."""

    def __init__(self, bound_s: float, key: Callable[[Request], float]) -> None:
        """`key` is a request's place in the queue, which must not change."""
        self._bound_s = bound_s
        self._key = key
        self._patient: dict[int, tuple[float, Request]] = {}  # (time is over, request), in order
        self._overdue = LazyHeap()  # by index

    @staticmethod
    def of(scheduler: BatchScheduler, spec: ReplicaSpec) -> PassOver | None:
        """The one that the scenario asks for."""
        options = spec.deployment.scenario.engine.scheduler
        bound_s = 0.0 if options.order == "strict_fcfs" else options.pass_over_s
        return None if bound_s is None else PassOver(bound_s, scheduler.key)

    def waits(self, request: Request, state: AdapterState, backlog: Backlog, now: float) -> None:
        """The request has begun to wait for its adapter. One that comes back because the adapter
        was evicted goes before those that came later, and takes the adapter forward: else what it
        holds back could be what its load waits for."""
        self._patient[request.index] = (now + self._bound_s, request)
        waiting, key = state.waiting, self._key(request)
        if len(waiting) > 1 and key < self._key(waiting[-2]):
            waiting.sort(key=self._key)
            if waiting[0] is request:
                backlog[:] = [(key, *e[1:]) if e[2] is state else e for e in backlog]
                heapify(backlog)

    def waits_no_more(self, request: Request) -> None:
        """Its adapter is there, or it has given up."""
        if self._patient.pop(request.index, None) is None and request.index in self._overdue:
            self._overdue.remove(request.index)

    def closed(self, now: float) -> bool:
        """Whether anybody is waited for now."""
        while self._patient:
            over_s, request = next(iter(self._patient.values()))
            if over_s > now:
                break
            del self._patient[request.index]
            self._overdue.put(request.index, (self._key(request),))
        return len(self._overdue) > 0

    def stops(self, request: Request, now: float) -> bool:
        """Whether the request has to wait for another one's adapter."""
        if not self.closed(now):
            return False
        return self._key(request) > self._overdue.rank(self._overdue.first())[0]

    def holds_all(self, scheduler: BatchScheduler, now: float) -> bool:
        """Whether nobody runs, and whoever is ready has to wait for another one's adapter."""
        if scheduler.running or not self.closed(now):
            return False
        first = scheduler.queue.peek(now)
        return first is None or self.stops(first, now)
