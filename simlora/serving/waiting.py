"""The queue of a replica's waiting requests, and the service that its discipline has to know of."""

from __future__ import annotations

from simlora.scenario.deployment import Deployment
from simlora.serving.batching.prefix_first import PrefixFirst
from simlora.serving.decode_set import DecodeSet
from simlora.serving.fairness import OrderedQueue, QueueDiscipline, make_discipline
from simlora.serving.queue_order import QUEUE_ORDER, LongestPrefix, TierPriority
from simlora.serving.replica_memory import ReplicaMemory


def make_queue(deployment: Deployment, memory: ReplicaMemory) -> QueueDiscipline:
    """The queue that a scenario asks for: by `engine.scheduler.order`, or fair."""
    fairness = deployment.scenario.gateway.fairness
    if fairness.policy != "fcfs":
        return make_discipline(deployment, fairness)
    options = deployment.scenario.engine.scheduler
    order = QUEUE_ORDER.make(options.order)
    if isinstance(order, LongestPrefix):
        return PrefixFirst(order, memory, options.age_s)
    if isinstance(order, TierPriority):
        order.weigh([tier.weight for tier in deployment.tiers])
    return OrderedQueue(order)


class ServiceMeter:
    """Tells a discipline what the decoding sequences of each tenant have generated, in bulk: a
    tenant's tokens are its sequences times the steps since they were last counted."""

    def __init__(self, queue: QueueDiscipline, decodes: DecodeSet, *, told: bool) -> None:
        """Without `told` the discipline does not need to know."""
        self._told = told
        self._queue = queue
        self._decodes = decodes
        self._sequences: dict[int, int] = {}  # decoding, by tenant
        self._counted_at: dict[int, int] = {}  # step count, by tenant

    def first_token(self, tenant: int) -> None:
        """A prompt of the tenant is computed, which gives a token."""
        if self._told:
            self._queue.on_output(tenant, 1)

    def joins(self, tenant: int) -> None:
        """A sequence of the tenant, which has had its first token, begins to decode."""
        if not self._told:
            return
        self._count(tenant)
        self._sequences[tenant] = self._sequences.get(tenant, 0) + 1

    def leaves(self, tenant: int) -> None:
        """A sequence of the tenant has stopped decoding."""
        if not self._told:
            return
        self._count(tenant)
        self._sequences[tenant] -= 1
        if not self._sequences[tenant]:
            del self._sequences[tenant], self._counted_at[tenant]

    def settle(self) -> None:
        """Tell of everything up to now."""
        for tenant in self._sequences:
            self._count(tenant)

    def _count(self, tenant: int) -> None:
        steps = self._decodes.step_count
        tokens = (steps - self._counted_at.get(tenant, steps)) * self._sequences.get(tenant, 0)
        if tokens:
            self._queue.on_output(tenant, tokens)
        self._counted_at[tenant] = steps
