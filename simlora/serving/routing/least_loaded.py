"""To whoever has the least to do."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.serving.request import Request
from simlora.serving.routing.base import ReplicaView, least_loaded


class LeastLoaded:
    """The replica with the fewest unfinished requests; of equals, the first."""

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        return least_loaded(replicas)
