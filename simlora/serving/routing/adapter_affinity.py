"""Where the adapter has its home."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.serving.request import Request
from simlora.serving.routing.base import ReplicaView, numbers_of
from simlora.serving.routing.rendezvous import Rendezvous


class AdapterAffinity:
    """Consistent hashing with bounded loads (Mirrokni et al., arXiv 1608.01350).

    Each adapter has its own order of the replicas (rendezvous hashing); a request goes to the first
    whose load is below `bound` times the mean, so a popular adapter spills to further replicas and
    all others stay where they are hot.
    """

    def __init__(self, bound: float = 1.25) -> None:
        self._bound = bound
        self._homes = Rendezvous()

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        # A base-model request has no adapter to stay with.
        key = request.adapter if request.adapter >= 0 else -1 - request.index
        return self.foresee(key, replicas)

    def foresee(self, adapter: int, replicas: Sequence[ReplicaView]) -> int:
        order = self._homes.order(adapter, numbers_of(replicas), keep=adapter >= 0)
        total = sum(replica.outstanding for replica in replicas) + 1
        limit = self._bound * total / len(replicas)
        for index in order:
            if replicas[index].outstanding < limit:
                return index
        return order[0]
