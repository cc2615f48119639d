"""The timing model that a scenario asks for."""

from __future__ import annotations

import hashlib
import json

from simlora.scenario.deployment import Deployment
from simlora.serving.registry import Registry
from simlora.timing.base import TimingModel
from simlora.timing.roofline import Roofline

TIMING: Registry[TimingModel] = Registry("timing.profile", {"roofline": Roofline})


def make_timing(deployment: Deployment, pool_index: int) -> TimingModel:
    """The timing model of the replicas in fleet entry `pool_index`.

    A class at a dotted path is called like Roofline: (gpu, model, weights, tensor_parallel).
    Raises UserError for an unknown profile.
    """
    scenario = deployment.scenario
    return TIMING.find(scenario.timing.profile)(
        deployment.gpus[pool_index],
        deployment.model,
        scenario.model.weights,
        scenario.fleet[pool_index].tensor_parallel,
    )


def timing_hash(models: list[TimingModel]) -> str:
    """Identifies the figures of the timing models, whatever their names."""
    described = json.dumps([model.describe() for model in models], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]
