"""A page pool that loses pages for good."""

from __future__ import annotations

from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.replica_spec import ReplicaSpec


class PoolLeak:
    """Takes pages out of a replica's pool at its step boundaries: free ones, and those that are
    only cached. What running requests hold is taken when they have left.

    It stops at what one request of the greatest length needs with the largest adapter beside all
    pinned ones: a server that leaked more would not answer any more.
    """

    def __init__(self, spec: ReplicaSpec, memory: ReplicaMemory) -> None:
        self.pending = 0  # pages to be lost
        self.lost = 0
        self._spec = spec
        self._memory = memory
        self._most: int | None = None

    def grow(self, pages: int) -> None:
        """`pages` more have leaked."""
        if self._most is None:
            self._most = max(0, self._memory.pool.pages - _least_pages(self._spec))
        self.pending = min(self.pending + pages, self._most - self.lost)

    def take(self, now: float) -> None:
        """Lose what can be lost now."""
        memory = self._memory
        idle_prefix = memory.prefix.idle_pages if memory.prefix is not None else 0
        pages = min(self.pending, memory.pool.free + idle_prefix + memory.hot.idle_pages)
        if pages and memory.make_room(pages, now):
            memory.pool.shrink(pages)
            self.lost += pages
            self.pending -= pages


def _least_pages(spec: ReplicaSpec) -> int:
    plan, deployment = spec.plan, spec.deployment
    pinned_tiers = deployment.scenario.adapters.hot.pinned_tiers
    largest = pinned = 0
    for adapter in deployment.served_by(plan.pool_index):
        pages = plan.adapter_pages(adapter.parameters)
        largest = max(largest, pages)
        if deployment.tier_names[deployment.tenants[adapter.tenant].tier] in pinned_tiers:
            pinned += pages
    request = -(-plan.max_model_len // plan.block_tokens) * plan.block_pages
    return pinned + largest + request
