"""How adapters come into a replica's GPU memory."""

from __future__ import annotations

from simlora.scenario.deployment import Deployment
from simlora.serving.loading import LoadPath
from simlora.timing.base import TimingModel


def load_path(deployment: Deployment, pool_index: int, timing: TimingModel) -> LoadPath:
    """The hops to the replicas of a fleet entry; the last one as the timing model has it, else over
    the GPU's host link."""
    adapters = deployment.scenario.adapters
    if timing.load is None:
        # Each GPU loads its own shard of an adapter.
        gpus = deployment.scenario.fleet[pool_index].tensor_parallel
        return LoadPath(adapters, deployment.gpus[pool_index].pcie_gb_per_s * 1e9 * gpus)
    warm = adapters.warm.model_copy(update={"registration_s": timing.load.latency_s})
    return LoadPath(adapters.model_copy(update={"warm": warm}), timing.load.bytes_per_s)
