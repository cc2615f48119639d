"""What the eviction policies of a replica's adapter tiers are told."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from simlora.scenario.deployment import Adapter
from simlora.scenario.eligibility import eligible_pools
from simlora.serving.eviction import EvictionPolicy, PolicyContext, make_policy
from simlora.serving.loading import DISK, NETWORK, PCIE
from simlora.serving.memory import ELEMENT_BYTES
from simlora.serving.replica_spec import ReplicaSpec

GB = 1e9

Holds = Callable[[int], bool]  # whether a tier has an adapter


class TierPolicies:
    """Makes the policies of one replica. An adapter's reload time is that of an idle link.

    `in_warm` and `in_nvme` tell from where an adapter would come back.
    """

    def __init__(self, spec: ReplicaSpec, in_warm: Holds, in_nvme: Holds) -> None:
        deployment, plan = spec.deployment, spec.plan
        self._deployment = deployment
        self._plan = plan
        self._config = deployment.scenario.adapters
        self._alone_s = spec.path.alone_s
        self._next_use = spec.next_use
        self._in_warm = in_warm
        self._in_nvme = in_nvme
        self._pinned = [name in self._config.hot.pinned_tiers for name in deployment.tier_names]
        scenario, model = deployment.scenario, deployment.models[plan.pool_index]
        groups = scenario.tenants
        served = [
            group
            for index, group in enumerate(groups)
            if plan.pool_index in eligible_pools(scenario, index)
        ]
        self._smallest = min(  # parameters of an adapter
            model.lora_parameters(group.adapter.rank, group.adapter.targets)
            for group in served or groups
        )
        self._slot_bytes = 0
        if plan.max_hot_adapters is not None and not plan.unified:
            self._slot_bytes = plan.slot_bytes // plan.max_hot_adapters

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """The adapters that the replica may serve."""
        return self._deployment.served_by(self._plan.pool_index)

    def hot(self) -> EvictionPolicy:
        """Of GPU memory: slots are all alike; a pool has no fixed part for adapters."""
        plan = self._plan
        capacity = None if plan.unified else float(plan.slot_bytes)
        if self._config.hot.capacity_gb is not None:
            capacity = self._config.hot.capacity_gb * GB
        unit = self._hot_bytes(self._smallest)
        return self._make("hot", self._config.hot.eviction, capacity, unit, self._load_s)

    def warm(self) -> EvictionPolicy:
        """Of host memory."""
        bounded = self._deployment.scenario.engine.max_cpu_loras is not None
        capacity = None if bounded else self._config.warm.capacity_gb * GB
        unit = ELEMENT_BYTES * self._smallest
        return self._make("warm", self._config.warm.eviction, capacity, unit, self._fetch_s)

    def nvme(self) -> EvictionPolicy:
        """Of the local disk."""
        bounded = self._config.nvme.max_adapters is not None
        capacity = None if bounded else self._config.nvme.capacity_gb * GB
        unit = ELEMENT_BYTES * self._smallest
        return self._make("nvme", self._config.nvme.eviction, capacity, unit, self._download_s)

    def hot_bytes(self, key: int) -> int:
        """What the adapter takes of GPU memory."""
        return self._hot_bytes(self._deployment.adapters[key].parameters)

    def _hot_bytes(self, parameters: int) -> int:
        if not self._plan.unified:
            return self._slot_bytes
        return self._plan.adapter_pages(parameters) * self._plan.page_bytes

    def _make(
        self,
        tier: str,
        name: str,
        capacity_bytes: float | None,
        unit_bytes: int,
        reload_s: Callable[[int], float],
    ) -> EvictionPolicy:
        context = PolicyContext(
            capacity_bytes=capacity_bytes,
            reload_s=reload_s,
            weight=self._weight,
            unit_bytes=unit_bytes,
            next_use=self._next_use,
        )
        return make_policy(name, context, f"adapters.{tier}.eviction")

    def _bytes(self, key: int) -> int:
        return self._deployment.adapters[key].nbytes

    def _weight(self, key: int) -> float:
        tier = self._deployment.tenants[self._deployment.adapters[key].tenant].tier
        return inf if self._pinned[tier] else self._deployment.tiers[tier].weight

    def _load_s(self, key: int) -> float:
        copy_s = self._alone_s(PCIE, self._bytes(key))
        return copy_s if self._in_warm(key) else copy_s + self._fetch_s(key)

    def _fetch_s(self, key: int) -> float:
        if not self._in_nvme(key):
            return self._download_s(key)
        return self._alone_s(DISK, self._bytes(key))

    def _download_s(self, key: int) -> float:
        return self._alone_s(NETWORK, self._bytes(key))
