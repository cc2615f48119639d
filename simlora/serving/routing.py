"""Which replica serves a request."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, runtime_checkable

from simlora.serving.registry import Registry
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler


@runtime_checkable
class Router(Protocol):
    """Chooses among replicas by what they would tell a real router: their queue and residency."""

    def choose(self, request: Request, replicas: Sequence[BatchScheduler]) -> int:
        """The index of the replica that gets `request`."""


def likely_replica(router: Router, adapter: int, replicas: Sequence[BatchScheduler]) -> int:
    """The replica that a request for the adapter would go to if it came now: what the router's
    `foresee` says, or else the one with the fewest unfinished requests."""
    foresee = getattr(router, "foresee", None)
    if foresee is not None:
        return int(foresee(adapter, replicas))
    return min(range(len(replicas)), key=lambda index: replicas[index].outstanding)


class RoundRobin:
    """Every replica in turn."""

    def __init__(self) -> None:
        self._next = -1

    def choose(self, request: Request, replicas: Sequence[BatchScheduler]) -> int:
        self._next = (self._next + 1) % len(replicas)
        return self._next

    def foresee(self, adapter: int, replicas: Sequence[BatchScheduler]) -> int:
        return (self._next + 1) % len(replicas)


class LeastLoaded:
    """The replica with the fewest unfinished requests; of equals, the first."""

    def choose(self, request: Request, replicas: Sequence[BatchScheduler]) -> int:
        if len(replicas) == 1:
            return 0
        best, least = 0, replicas[0].outstanding
        for index, replica in enumerate(replicas):
            if replica.outstanding < least:
                best, least = index, replica.outstanding
        return best


class AdapterAffinity:
    """Consistent hashing with bounded loads (Mirrokni et al., arXiv 1608.01350).

    Each adapter has its own order of the replicas (rendezvous hashing); a request goes to the first
    whose load is below `bound` times the mean, so a popular adapter spills to further replicas and
    all others stay where they are hot.
    """

    def __init__(self, bound: float = 1.25) -> None:
        self._bound = bound
        self._orders: dict[int, list[int]] = {}

    def choose(self, request: Request, replicas: Sequence[BatchScheduler]) -> int:
        # A base-model request has no adapter to stay with.
        key = request.adapter if request.adapter >= 0 else -1 - request.index
        return self.foresee(key, replicas)

    def foresee(self, adapter: int, replicas: Sequence[BatchScheduler]) -> int:
        order = self._order(adapter, len(replicas))
        total = sum(replica.outstanding for replica in replicas) + 1
        limit = self._bound * total / len(replicas)
        for index in order:
            if replicas[index].outstanding < limit:
                return index
        return order[0]

    def _order(self, key: int, replicas: int) -> list[int]:
        order = self._orders.get(key)
        if order is None:
            order = sorted(
                range(replicas),
                key=lambda replica: blake2b(f"{key}/{replica}".encode(), digest_size=8).digest(),
            )
            if key >= 0:
                self._orders[key] = order
        return order


ROUTING: Registry[Router] = Registry(
    "gateway.routing",
    Router,
    {
        "round_robin": RoundRobin,
        "least_loaded": LeastLoaded,
        "adapter_affinity": AdapterAffinity,
    },
)
