"""The request with the longest cached prefix first."""

from __future__ import annotations

from itertools import islice
from math import inf

from simlora.serving.fairness.fcfs import OrderedQueue
from simlora.serving.queue_order import QueueOrder
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import Request

WINDOW = 128  # a longer queue is not searched; SGLang sorts none that is longer


class PrefixFirst(OrderedQueue):
    """What SGLang calls longest prefix match (LPM), with ageing: of the `WINDOW` requests that have
    been here longest the one with the most cached tokens is admitted next, equal ones by arrival;
    but first the one that arrived first, once it has waited `age_s`.

    Loads of adapters go by arrival.
    """

    def __init__(self, order: QueueOrder, memory: ReplicaMemory, age_s: float) -> None:
        super().__init__(order)
        self._memory = memory
        self._age_s = age_s
        self._choice: Request | None = None

    def peek(self, now: float) -> Request | None:
        choice = first = super().peek(now)
        if first is not None and now < first.enqueued_s + self._age_s:
            choice = max(
                islice(self._waiting.values(), WINDOW),
                key=lambda request: (self._cached_tokens(request), -request.index),
            )
        self._choice = choice
        return choice

    def pop(self, now: float) -> Request:
        # The cache may have changed since the last `peek`, and its answer is what was looked at.
        request = self._choice or self.peek(now)
        if request is None:
            raise LookupError("no request waits")
        self.remove(request)
        return request

    def remove(self, request: Request) -> None:
        super().remove(request)
        self._choice = None

    def wake_at_s(self, now: float) -> float:
        """When the first to arrive will have waited long enough, if it has not."""
        first = super().peek(now)
        if first is None:
            return inf
        aged_s = first.enqueued_s + self._age_s
        return aged_s if aged_s > now else inf

    def _cached_tokens(self, request: Request) -> int:
        return 0 if request.base_fallback else self._memory.cached_prefix_tokens(request)
