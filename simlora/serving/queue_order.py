"""In which order a replica's waiting requests are considered."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from simlora.serving.registry import Registry
from simlora.serving.request import Request


@runtime_checkable
class QueueOrder(Protocol):
    """Gives each request its place in the queue, once, when it is enqueued."""

    def key(self, request: Request) -> float:
        """Smaller keys go first; equal keys go by arrival."""


class FCFS:
    """First come, first served."""

    def key(self, request: Request) -> float:
        return request.index


QUEUE_ORDER: Registry[QueueOrder] = Registry("engine.scheduler.order", QueueOrder, {"fcfs": FCFS})
