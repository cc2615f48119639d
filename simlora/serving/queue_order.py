"""In which order a replica's waiting requests are considered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from simlora.serving.registry import Registry
from simlora.serving.request import Request

_LATER = 2.0**40  # more than there are requests, and few enough bits for their indexes beside it


@runtime_checkable
class QueueOrder(Protocol):
    """Gives each request its place in the queue, once, when it is enqueued."""

    def key(self, request: Request) -> float:
        """Smaller keys go first; equal keys go by arrival."""


class FCFS:
    """First come, first served. Only requests whose adapters are in GPU memory are in the queue, so
    those whose are not are passed over: residents go first, as in vLLM. `pass_over_s` bounds it."""

    def key(self, request: Request) -> float:
        return request.turn


class StrictFCFS(FCFS):
    """Nobody is passed over: a request whose adapter is not in GPU memory holds back all that came
    after it (head-of-line blocking)."""


class TierPriority:
    """By the weight of the tier, greater first, then by arrival."""

    def __init__(self) -> None:
        self._level: list[int] = []

    def weigh(self, weights: Sequence[float]) -> None:
        """The weights of the tiers, by index."""
        levels = sorted(set(weights), reverse=True)
        self._level = [levels.index(weight) for weight in weights]

    def key(self, request: Request) -> float:
        return self._level[request.tier] * _LATER + request.turn


class LongestPrefix(FCFS):
    """The longest cached prefix first, see `PrefixFirst`; adapters are loaded by arrival."""


QUEUE_ORDER: Registry[QueueOrder] = Registry(
    "engine.scheduler.order",
    QueueOrder,
    {
        "fcfs": FCFS,
        "prefix_first": LongestPrefix,
        "priority": TierPriority,
        "resident_first": FCFS,
        "strict_fcfs": StrictFCFS,
    },
)
