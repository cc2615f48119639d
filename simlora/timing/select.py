"""The timing model that a scenario asks for."""

from __future__ import annotations

import hashlib
import json

from simlora.errors import UserError
from simlora.scenario.catalog import load_gpu, load_model
from simlora.scenario.deployment import Deployment
from simlora.scenario.problems import did_you_mean
from simlora.scenario.schema import ModelChoice
from simlora.serving.registry import Registry
from simlora.timing.base import TimingModel
from simlora.timing.measured import MeasuredTiming, outside
from simlora.timing.parameters import LoadParameters, StepParameters
from simlora.timing.profile import (
    Feature,
    Profile,
    is_profile_path,
    load_profile,
    profile_names,
)
from simlora.timing.roofline import Efficiency, Roofline, roofline_parameters
from simlora.timing.scaling import scaled_load, scaled_step

FIELD = "timing.profile"
TIMING: Registry[TimingModel] = Registry(FIELD, TimingModel, {"roofline": Roofline})


def make_timing(deployment: Deployment, pool_index: int) -> TimingModel:
    """The timing model of the replicas in fleet entry `pool_index`.

    A class at a dotted path is called like Roofline: (gpu, model, weights, tensor_parallel).
    Raises UserError for an unknown profile, or one whose hardware nobody knows.
    """
    scenario = deployment.scenario
    profile = find_profile(scenario.timing.profile)
    if profile is not None:
        return profile_timing(profile, deployment, pool_index)
    return TIMING.make(
        scenario.timing.profile,
        deployment.gpus[pool_index],
        deployment.model,
        scenario.model.weights,
        scenario.fleet[pool_index].tensor_parallel,
    )


def find_profile(name: str) -> Profile | None:
    """The profile that a scenario names; None where it names the roofline or a class.

    Raises UserError if there is none.
    """
    if not is_profile_path(name):
        if name in TIMING.names() or ":" in name:
            return None
        known = [*TIMING.names(), *profile_names()]
        if name not in known:
            raise UserError(
                f'{FIELD}: no timing profile "{name}": {did_you_mean(name, known)}, a path to a '
                "JSON file that calibrate wrote, or a dotted path package.module:Class"
            )
    try:
        return load_profile(name)
    except UserError as error:
        raise UserError(f"{FIELD}: {error}") from None


def profile_timing(profile: Profile, deployment: Deployment, pool_index: int) -> MeasuredTiming:
    """The timing model of a profile for the replicas in fleet entry `pool_index`.

    Raises UserError if it has to be carried over and its own hardware or model is not known.
    """
    engine = deployment.scenario.engine
    memory, model = engine.memory, deployment.model
    ranks = [adapter.rank for adapter in deployment.adapters]
    max_rank = memory.max_lora_rank or max(ranks, default=0)
    slots = memory.max_loras or 0
    padded_parameters = None
    if profile.padded and memory.mode == "slots":
        padded_parameters = model.lora_parameters(max_rank, "all-linear")
    fixed: dict[Feature, float] = {"slots": slots, "max_rank": max_rank}
    departs = outside(fixed, profile.holds_for)
    if engine.preset != profile.preset:
        departs.append("preset")
    step, load, scaled_from = _carried_over(profile, deployment, pool_index)
    return MeasuredTiming(profile, step, load, scaled_from, slots, padded_parameters, departs)


def timing_hash(models: list[TimingModel]) -> str:
    """Identifies the figures of the timing models, whatever their names."""
    described = json.dumps([model.describe() for model in models], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _carried_over(
    profile: Profile, deployment: Deployment, pool_index: int
) -> tuple[StepParameters, LoadParameters | None, str | None]:
    """The profile's figures for this pool, and what they were scaled from (None: they are as
    measured)."""
    scenario, pool = deployment.scenario, deployment.scenario.fleet[pool_index]
    gpu, gpus = deployment.gpus[pool_index], pool.tensor_parallel
    here = (gpu.name, deployment.model.name, scenario.model.weights, gpus)
    if here == (profile.gpu, profile.model, profile.weights, profile.tensor_parallel):
        return profile.step, profile.load, None
    try:
        source_gpu = load_gpu(profile.gpu, scenario.catalog)
        choice = ModelChoice(name=profile.model, weights=profile.weights)
        source_model = load_model(choice, scenario.catalog)
    except UserError as error:
        raise UserError(
            f"{FIELD}: {profile.name} was measured on {profile.measured_on} and cannot be carried "
            f"over to this fleet: {error}"
        ) from None
    efficiency = Efficiency()
    step = scaled_step(
        profile.step,
        roofline_parameters(
            source_gpu, source_model, profile.weights, profile.tensor_parallel, efficiency
        ),
        roofline_parameters(gpu, deployment.model, scenario.model.weights, gpus, efficiency),
    )
    load = profile.load
    if load is not None:
        load = scaled_load(load, source_gpu, profile.tensor_parallel, gpu, gpus)
    return step, load, profile.measured_on
