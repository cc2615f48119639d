"""The timing model that a scenario asks for."""

from __future__ import annotations

import hashlib
import json
import math

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
NEAREST = "nearest"
TIMING: Registry[TimingModel] = Registry(FIELD, TimingModel, {"roofline": Roofline})


def make_timing(deployment: Deployment, pool_index: int) -> TimingModel:
    """The timing model of the replicas in fleet entry `pool_index`.

    A class at a dotted path is called like Roofline: (gpu, model, weights, tensor_parallel).
    Raises UserError for an unknown profile, or one whose hardware nobody knows.
    """
    name = deployment.scenario.timing.profile
    if name == NEAREST:
        profile = nearest_profile(deployment, pool_index)
        name = "roofline"
    else:
        profile = find_profile(name)
    if profile is not None:
        return profile_timing(profile, deployment, pool_index)
    return TIMING.make(
        name,
        deployment.gpus[pool_index],
        deployment.models[pool_index],
        deployment.weights[pool_index],
        deployment.scenario.fleet[pool_index].tensor_parallel,
    )


def find_profile(name: str) -> Profile | None:
    """The profile that a scenario names; None where it names no certain one: the nearest, the
    roofline or a class.

    Raises UserError if there is none.
    """
    if not is_profile_path(name):
        if name == NEAREST or name in TIMING.names() or ":" in name:
            return None
        known = [NEAREST, *TIMING.names(), *profile_names()]
        if name not in known:
            raise UserError(
                f'{FIELD}: no timing profile "{name}": {did_you_mean(name, known)}, a path to a '
                "JSON file that calibrate wrote, or a dotted path package.module:Class"
            )
    try:
        return load_profile(name)
    except UserError as error:
        raise UserError(f"{FIELD}: {error}") from None


def nearest_profile(deployment: Deployment, pool_index: int) -> Profile | None:
    """The shipped profile of the engine's preset that is most like a fleet entry; None if there is
    none of that preset.

    One of the same model goes before all others, for a stack's own costs come with the model; then
    the one that the roofline has to carry over least.
    """
    preset = deployment.scenario.engine.preset
    profiles = [p for p in map(load_profile, profile_names()) if p.preset == preset]

    def unlikeness(profile: Profile) -> tuple[bool, float]:
        other_model = profile.model != deployment.models[pool_index].name
        return other_model, _distance(profile, deployment, pool_index)

    return min(profiles, key=unlikeness, default=None)


def _distance(profile: Profile, deployment: Deployment, pool_index: int) -> float:
    """By what factors, on a log scale, the roofline tells the profile's hardware and model from
    those of a fleet entry."""
    source = _measured_roofline(profile, deployment)
    target = _roofline(deployment, pool_index)
    return sum(
        abs(math.log(getattr(target, name) / getattr(source, name)))
        for name in ("weights_s", "token_compute_s", "decode_attended_s", "lora_token_parameter_s")
    )


def profile_timing(profile: Profile, deployment: Deployment, pool_index: int) -> MeasuredTiming:
    """The timing model of a profile for the replicas in fleet entry `pool_index`.

    Raises UserError if it has to be carried over and its own hardware or model is not known.
    """
    engine = deployment.scenario.engine
    memory, model = engine.memory, deployment.models[pool_index]
    ranks = [adapter.rank for adapter in deployment.served_by(pool_index)]
    max_rank = memory.max_lora_rank or max(ranks, default=0)
    slots = memory.max_loras or 0
    padded_parameters = None
    if profile.padded and memory.mode == "slots":
        padded_parameters = model.lora_parameters(max_rank, "all-linear")
    # Without adapters neither has a price.
    fixed: dict[Feature, float] = {"slots": slots, "max_rank": max_rank} if ranks else {}
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
    here = (gpu.name, deployment.models[pool_index].name, deployment.weights[pool_index], gpus)
    if here == (profile.gpu, profile.model, profile.weights, profile.tensor_parallel):
        return profile.step, profile.load, None
    try:
        source_gpu = load_gpu(profile.gpu, scenario.catalog)
        source = _measured_roofline(profile, deployment)
    except UserError as error:
        raise UserError(
            f"{FIELD}: {profile.name} was measured on {profile.measured_on} and cannot be carried "
            f"over to this fleet: {error}"
        ) from None
    step = scaled_step(profile.step, source, _roofline(deployment, pool_index))
    load = profile.load
    if load is not None:
        load = scaled_load(load, source_gpu, profile.tensor_parallel, gpu, gpus)
    return step, load, profile.measured_on


def _measured_roofline(profile: Profile, deployment: Deployment) -> StepParameters:
    """The roofline's figures of what a profile was measured on. Raises UserError if the catalog
    does not know it."""
    catalog = deployment.scenario.catalog
    gpu = load_gpu(profile.gpu, catalog)
    model = load_model(ModelChoice(name=profile.model, weights=profile.weights), catalog)
    return roofline_parameters(gpu, model, profile.weights, profile.tensor_parallel, Efficiency())


def _roofline(deployment: Deployment, pool_index: int) -> StepParameters:
    """The roofline's figures of a fleet entry."""
    return roofline_parameters(
        deployment.gpus[pool_index],
        deployment.models[pool_index],
        deployment.weights[pool_index],
        deployment.scenario.fleet[pool_index].tensor_parallel,
        Efficiency(),
    )
