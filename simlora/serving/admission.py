"""Whom the gateway turns away while the queues are long."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.scenario.deployment import Deployment
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler


class AdmissionControl:
    """Bounds the requests that wait on the replicas, by tier."""

    def __init__(self, deployment: Deployment) -> None:
        config = deployment.scenario.gateway.admission
        self._most = [config.max_queue.get(name) for name in deployment.tier_names]
        self._retry_after_s = config.retry_after_s
        self._bounds = bool(config.max_queue)

    def admits(self, request: Request, replicas: Sequence[BatchScheduler]) -> bool:
        """Whether the request may join the queues of `replicas`, at least one, of which one will
        take it; else it says why not, and when to come again."""
        if not self._bounds or (most := self._most[request.tier]) is None:
            return True
        if sum(replica.waiting for replica in replicas) <= most * len(replicas):
            return True
        request.reason, request.retry_after_s = "overloaded", self._retry_after_s
        return False
