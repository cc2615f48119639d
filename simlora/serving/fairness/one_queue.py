"""Base of the disciplines that keep one queue for all flows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from simlora.serving.fairness.base import Rank
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.request import Request


class OneQueue(ABC):
    """Requests by the rank that they have when they are pushed."""

    def __init__(self) -> None:
        self._waiting: dict[int, Request] = {}
        self._heap = LazyHeap()

    def push(self, request: Request, now: float) -> None:
        self._heap.put(request.index, self.rank(request, now))
        self._waiting[request.index] = request

    def peek(self, now: float) -> Request | None:
        return self._waiting[self._heap.first()] if self._waiting else None

    def pop(self, now: float) -> Request:
        request = self.peek(now)
        if request is None:
            raise LookupError("no request waits")
        self.remove(request)
        return request

    def remove(self, request: Request) -> None:
        self._heap.remove(request.index)
        del self._waiting[request.index]

    def on_output(self, tenant: int, tokens: int) -> None:  # noqa: B027 (places are fixed)
        pass

    def on_finish(self, request: Request) -> None:  # noqa: B027 (most learn nothing)
        pass

    @abstractmethod
    def rank(self, request: Request, now: float) -> Rank: ...

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting.values())
