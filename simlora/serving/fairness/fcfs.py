"""First come, first served, or any other order that does not change."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from simlora.serving.fairness.base import Rank
from simlora.serving.queue_order import QueueOrder
from simlora.serving.request import Request


class OrderedQueue:
    """Requests in an order that each is given once, when it is pushed."""

    def __init__(self, order: QueueOrder) -> None:
        self._order = order
        self._heap: list[tuple[float, int, Request]] = []
        self._waiting: dict[int, Request] = {}

    def push(self, request: Request, now: float) -> None:
        heappush(self._heap, (self._order.key(request), request.index, request))
        self._waiting[request.index] = request

    def peek(self, now: float) -> Request | None:
        heap, waiting = self._heap, self._waiting
        while heap and heap[0][1] not in waiting:
            heappop(heap)
        return heap[0][2] if heap else None

    def pop(self, now: float) -> Request:
        request = self.peek(now)
        if request is None:
            raise LookupError("no request waits")
        heappop(self._heap)
        del self._waiting[request.index]
        return request

    def remove(self, request: Request) -> None:
        # Its entry stays in the heap: it is passed over, or good again should it come back.
        del self._waiting[request.index]

    def on_output(self, tenant: int, tokens: int) -> None:
        pass

    def on_finish(self, request: Request) -> None:
        pass

    def rank(self, request: Request, now: float) -> Rank:
        return (self._order.key(request), request.index)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting.values())
