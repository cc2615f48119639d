"""A pool with another model has that model's memory and that model's step times."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.batch_shape import BatchShape
from simlora.serving.lower_tiers import LowerTiers
from simlora.serving.memory import plan_memory
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.tier_policies import TierPolicies
from simlora.serving.tier_stats import TierStats
from simlora.timing import make_timing
from simlora.timing.load_path import load_path
from simlora.timing.measured import MeasuredTiming
from simlora.timing.select import nearest_profile

SHAPE = BatchShape(decode_seqs=8, decode_attended_tokens=8_000)
LLAMA: dict[str, Any] = {"gpu": "h100-80gb", "model": {"name": "llama-3.1-8b"}}
QWEN: dict[str, Any] = {"gpu": "h100-80gb", "model": {"name": "qwen2.5-32b", "weights": "fp8"}}
SMALL: dict[str, Any] = {"gpu": "h100-80gb", "model": {"name": "qwen2.5-7b"}}
VLLM = {"preset": "vllm-0.8.5", "max_model_len": 8192}


def deploy(*fleet: dict[str, Any], **changes: Any) -> Deployment:
    """A scenario of the first pool's model, with a tenant group for each model of the fleet."""
    names = dict.fromkeys(pool["model"]["name"] for pool in fleet)
    fields = {
        "name": "test",
        "model": fleet[0]["model"],
        "fleet": list(fleet),
        "tenants": [{"name": f"g{i}", "model": name} for i, name in enumerate(names)],
        "workload": {"rate_rps": 1},
        "engine": {"max_model_len": 8192},
    }
    return expand(Scenario.model_validate(fields | changes))


def test_the_fleet_of_a_scenario_in_one_model_needs_no_models_of_pools() -> None:
    named = deploy(LLAMA)
    plain = deploy(LLAMA, fleet=[{"gpu": "h100-80gb"}])
    assert plan_memory(named, 0) == plan_memory(plain, 0)
    assert make_timing(named, 0).step(SHAPE) == make_timing(plain, 0).step(SHAPE)


@pytest.mark.parametrize(("index", "pool"), [(0, LLAMA), (1, QWEN)])
def test_memory_is_as_in_a_fleet_of_that_model_alone(index: int, pool: dict[str, Any]) -> None:
    here, apart = plan_memory(deploy(LLAMA, QWEN), index), plan_memory(deploy(pool), 0)
    assert here.pool_index == index
    for field in ("page_bytes", "pool_pages", "block_pages", "weight_bytes", "max_model_len"):
        assert getattr(here, field) == getattr(apart, field), field
    other = plan_memory(deploy(LLAMA, QWEN), 1 - index)
    assert here.weight_bytes != other.weight_bytes


@pytest.mark.parametrize("engine", [VLLM, {"max_model_len": 8192}])
@pytest.mark.parametrize(("index", "pool"), [(0, LLAMA), (1, QWEN)])
def test_steps_take_as_long_as_in_a_fleet_of_that_model_alone(
    index: int, pool: dict[str, Any], engine: dict[str, Any]
) -> None:
    """By a measured profile, and by the roofline."""
    mixed = deploy(LLAMA, QWEN, engine=engine)
    here = make_timing(mixed, index)
    assert here.step(SHAPE) == make_timing(deploy(pool, engine=engine), 0).step(SHAPE)
    assert here.step(SHAPE) != make_timing(mixed, 1 - index).step(SHAPE)


def test_a_pool_takes_the_nearest_profile_for_its_own_model() -> None:
    deployment = deploy(LLAMA, SMALL, QWEN, engine=VLLM)
    found = [nearest_profile(deployment, pool) for pool in range(3)]
    assert [profile.model if profile else None for profile in found[:2]] == [
        "llama-3.1-8b",
        "qwen2.5-7b",
    ]
    carried = make_timing(deployment, 2)
    assert isinstance(carried, MeasuredTiming)
    assert carried.scaled_from is not None  # there is none for this model


def test_slots_are_padded_to_the_pools_own_model() -> None:
    slots = {"mode": "slots", "max_loras": 4, "max_lora_rank": 16}
    both = deploy(LLAMA, QWEN, engine={"max_model_len": 8192, "memory": slots})
    for index, model in enumerate(both.models):
        parameters = model.lora_parameters(16, "all-linear")
        assert plan_memory(both, index).slot_bytes == 4 * 2 * parameters


def test_only_adapters_that_a_pool_may_serve_have_to_fit_there() -> None:
    """The other group's adapters are too large for the small pool, and never come there."""
    small, large = LLAMA | {"gpu": "a10g"}, QWEN | {"gpu": "h200"}
    groups: list[dict[str, Any]] = [
        {"name": "a", "model": "llama-3.1-8b"},
        {"name": "b", "model": "qwen2.5-32b", "adapter": {"rank": 1024}},
    ]
    short = {"max_model_len": 1024}
    plan = plan_memory(deploy(small, large, tenants=groups, engine=short), 0)
    assert plan.pool_pages > 0
    groups[1]["model"] = "llama-3.1-8b"
    with pytest.raises(UserError, match=r"^fleet\.0: adapter 'b-0000' takes"):
        plan_memory(deploy(small, large, tenants=groups, engine=short), 0)


def test_a_model_that_does_not_fit_is_named_with_its_pool() -> None:
    with pytest.raises(UserError, match=r"^fleet\.1: qwen2.5-32b in fp8 needs"):
        plan_memory(deploy(LLAMA, QWEN | {"gpu": "a10g"}), 1)


def test_a_replica_begins_with_the_adapters_that_it_may_serve() -> None:
    deployment = deploy(LLAMA, QWEN, adapters={"initial_tier": "warm"})
    for index in (0, 1):
        plan = plan_memory(deployment, index)
        path = load_path(deployment, index, make_timing(deployment, index))
        spec = ReplicaSpec(deployment, plan, path, 16)
        policies = TierPolicies(spec, lambda _: False, lambda _: False)
        assert LowerTiers(deployment, policies, {}, TierStats()).fill() == [index]
