"""Batches confined to trust classes: who does not trust each other never shares a step."""

from __future__ import annotations

from collections.abc import Callable

from simlora.scenario.deployment import Deployment
from simlora.scenario.engine import Trust
from simlora.serving.batching.base import BatchRule, Push
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.request import Request


class TrustClasses(BatchRule):
    """Only requests of one class run together; the classes take turns.

    A turn's class stops admitting once a request of another has waited `max_wait_s`, of this turn
    and since it came here. When the batch has run empty, the class whose first request has waited
    longest goes on. So a class waits at most for one turn and its last answers for each other
    class, and under overload a turn is still long enough to fill a batch.
    """

    def __init__(self, deployment: Deployment, options: Trust, push: Push) -> None:
        super().__init__(push)
        self.turns = 0  # that have begun with another class than the one before
        self._class_of = _classes(deployment, options)
        self._max_wait_s = options.max_wait_s
        self._present: int | None = None  # the class whose turn it is
        self._before: int | None = None  # the one before
        self._began_s = 0.0
        self._closed = False  # for the rest of the turn
        self._running = 0
        self._of_class: dict[int, dict[int, Request]] = {}  # parked
        self._oldest = LazyHeap()  # of the parked, by index

    def allows(self, request: Request, now: float) -> bool:
        if self._class_of(request) != self._present:
            return False
        if not self._closed and self._running and self._oldest:
            # Until the turn is closed, only requests of other classes are parked.
            waits_from_s = self._oldest.rank(self._oldest.first())[0]
            self._closed = now >= max(self._began_s, waits_from_s) + self._max_wait_s
        return not self._closed

    def park(self, request: Request, now: float) -> None:
        super().park(request, now)
        self._of_class.setdefault(self._class_of(request), {})[request.index] = request
        self._oldest.put(request.index, (request.enqueued_s,))

    def unpark(self, request: Request) -> None:
        super().unpark(request)
        self._oldest.remove(request.index)
        del self._of_class[self._class_of(request)][request.index]

    def joined(self, request: Request, now: float) -> None:
        self._running += 1

    def left(self, request: Request, now: float) -> None:
        self._running -= 1
        if not self._running:
            self._present, self._closed = None, False

    def may_release(self) -> bool:
        return not self._running and bool(self.parked)

    def exhausted(self, now: float) -> None:
        """With nobody running, everyone who could join is parked, or of the present class."""
        if not self.may_release():
            return
        self._present = self._class_of(self.parked[self._oldest.first()])
        self._began_s = now
        if self._present != self._before:
            self._before = self._present
            self.turns += 1
        for request in list(self._of_class[self._present].values()):
            self.release(request, now)


def _classes(deployment: Deployment, options: Trust) -> Callable[[Request], int]:
    """Tells a request's class, as a number."""
    if options.by == "tenant":
        return lambda request: request.tenant
    if options.by == "tier":
        return lambda request: request.tier
    groups = deployment.scenario.tenants
    numbers = {name: n for n, name in enumerate(dict.fromkeys(g.trust_class for g in groups))}
    of_tenant = [numbers[groups[tenant.group].trust_class] for tenant in deployment.tenants]
    return lambda request: of_tenant[request.tenant]
