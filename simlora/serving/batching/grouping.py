"""Adapter-grouped batches: requests wait a while for others of their adapter."""

from __future__ import annotations

from math import inf

from simlora.scenario.engine import Grouping as Options
from simlora.serving.batching.base import BatchRule, Push
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.request import Request


class Grouping(BatchRule):
    """A request joins once its adapter is in the batch, `min_requests` of it wait, or it has waited
    `adapter_wait_s` since it came here. Each further adapter costs every step its weights, so the
    fewer there are in a batch the cheaper it is.

    Requests to the base model, and such as have been in the batch before, do not wait.
    """

    def __init__(self, options: Options, push: Push) -> None:
        super().__init__(push)
        self._wait_s = options.adapter_wait_s
        self._enough = options.min_requests
        self._of_adapter: dict[int, dict[int, Request]] = {}  # parked
        self._deadlines = LazyHeap()  # of the parked, by index
        self._complete: set[int] = set()  # requests of groups that were large enough

    def allows(self, request: Request, now: float) -> bool:
        state = request.adapter_state
        if state is None or state.running or request.preemptions:
            return True
        if request.index in self._complete or now >= self._deadline_s(request):
            return True
        others = self._of_adapter.get(request.adapter, {})
        if len(others) + 1 < self._enough:
            return False
        self._complete.update(others)
        self._complete.add(request.index)
        self._release_all(request.adapter, now)
        return True

    def park(self, request: Request, now: float) -> None:
        super().park(request, now)
        self._of_adapter.setdefault(request.adapter, {})[request.index] = request
        self._deadlines.put(request.index, (self._deadline_s(request),))

    def unpark(self, request: Request) -> None:
        super().unpark(request)
        self._deadlines.remove(request.index)
        group = self._of_adapter[request.adapter]
        del group[request.index]
        if not group:
            del self._of_adapter[request.adapter]

    def joined(self, request: Request, now: float) -> None:
        self._complete.discard(request.index)
        if request.adapter_state is not None:
            self._release_all(request.adapter, now)

    def over(self, request: Request, now: float) -> None:
        self._complete.discard(request.index)

    def tick(self, now: float) -> None:
        while self._next_deadline_s() <= now:
            self.release(self.parked[self._deadlines.first()], now)

    def wake_at_s(self, now: float) -> float:
        return max(now, self._next_deadline_s())

    def _deadline_s(self, request: Request) -> float:
        return request.enqueued_s + self._wait_s

    def _next_deadline_s(self) -> float:
        if not self._deadlines:
            return inf
        return self._deadlines.rank(self._deadlines.first())[0]

    def _release_all(self, adapter: int, now: float) -> None:
        for request in list(self._of_adapter.get(adapter, {}).values()):
            self.release(request, now)
