"""Strict priority, with ageing if asked for."""

from __future__ import annotations

from simlora.scenario.schema import Fairness
from simlora.serving.fairness.base import Rank, place
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.fairness.one_queue import OneQueue
from simlora.serving.request import Request

AGED = -1  # the class above all others


class Priority(OneQueue):
    """By the weight of the tier (greater first), then the request's priority (greater first), then
    preempted ones before others, then arrival. Tiers of equal weight are one class.

    With `age_s` a request is lifted by one class for every `age_s` seconds since it arrived. Above
    the highest class there is one more, where requests go by arrival alone: what has waited
    `age_s` x (number of classes) seconds yields only to what arrived before it.
    """

    def __init__(self, table: FlowTable, options: Fairness) -> None:
        super().__init__()
        classes = sorted(set(table.tier_weights), reverse=True)
        self._class_of_tier = [classes.index(weight) for weight in table.tier_weights]
        self._age_s = options.age_s
        self._lift_at = LazyHeap()  # requests by the time of their next lift

    def push(self, request: Request, now: float) -> None:
        super().push(request, now)
        self._plan_lift(request, now)

    def peek(self, now: float) -> Request | None:
        while self._lift_at and self._lift_at.rank(index := self._lift_at.first())[0] <= now:
            request = self._waiting[index]
            self._heap.put(index, self.rank(request, now))
            self._plan_lift(request, now)
        return super().peek(now)

    def remove(self, request: Request) -> None:
        super().remove(request)
        if request.index in self._lift_at:
            self._lift_at.remove(request.index)

    def rank(self, request: Request, now: float) -> Rank:
        level = max(AGED, self._class_of_tier[request.tier] - self._lifts(request, now))
        if level == AGED:
            return (level, request.index)
        return (level, -request.priority, *place(request))

    def _plan_lift(self, request: Request, now: float) -> None:
        lifts = self._lifts(request, now)
        if self._age_s is not None and lifts <= self._class_of_tier[request.tier]:
            self._lift_at.put(request.index, (request.arrival_s + (lifts + 1) * self._age_s,))
        elif request.index in self._lift_at:
            self._lift_at.remove(request.index)

    def _lifts(self, request: Request, now: float) -> int:
        """The number of instants `arrival_s + k * age_s` that have come."""
        if self._age_s is None:
            return 0
        lifts = max(0, int((now - request.arrival_s) / self._age_s))
        # The division may round to either side of the instant that `_plan_lift` waits for.
        while request.arrival_s + (lifts + 1) * self._age_s <= now:
            lifts += 1
        while lifts and request.arrival_s + lifts * self._age_s > now:
            lifts -= 1
        return lifts
