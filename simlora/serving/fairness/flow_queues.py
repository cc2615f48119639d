"""One queue a flow."""

from __future__ import annotations

from collections.abc import Iterator

from simlora.serving.fairness.base import place
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.request import Request


class FlowQueues:
    """The waiting requests of each flow: preempted ones first, then by arrival."""

    def __init__(self) -> None:
        self._waiting: dict[int, Request] = {}
        self._queues: dict[int, LazyHeap] = {}

    def push(self, flow: int, request: Request) -> None:
        """Queue a request."""
        self._waiting[request.index] = request
        queue = self._queues.get(flow)
        if queue is None:
            queue = self._queues[flow] = LazyHeap()
        queue.put(request.index, place(request))

    def head(self, flow: int) -> Request | None:
        """The first request of a flow; None if it has none."""
        queue = self._queues.get(flow)
        return self._waiting[queue.first()] if queue is not None else None

    def remove(self, flow: int, request: Request) -> None:
        """Take a request out. Raises KeyError if it is not in."""
        del self._waiting[request.index]
        queue = self._queues[flow]
        queue.remove(request.index)
        if not queue:
            del self._queues[flow]

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting.values())
