"""What serves, and whom: base model, fleet and tenants of a scenario."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from simlora.scenario.adapter_shape import AdapterShape
from simlora.scenario.autoscale import Autoscale
from simlora.scenario.field_types import Name, PositiveInt, Usd
from simlora.scenario.strict import Strict
from simlora.scenario.traffic import Length
from simlora.scenario.versions import Rollout


class ModelChoice(Strict):
    """The base model: a catalog name or a path to a Hugging Face `config.json`.

    In a scenario a bare name stands for `{name: …}`.
    """

    name: str
    weights: Literal["bf16", "fp8", "int8", "int4", "nvfp4"] = "bf16"


def model_by_name(value: Any) -> Any:
    """A bare name stands for `{name: …}`."""
    return {"name": value} if isinstance(value, str) else value


class Pool(Strict):
    """A pool of identical replicas; a replica is `tensor_parallel` GPUs serving one base model.

    `name` defaults to the pool's position, `model` to the scenario's. `region`: where it stands.
    `tenants`: groups that the pool is dedicated to; a group that pools are dedicated to is served
    by those alone, and they serve nobody else. With `autoscale`, `replicas` are the most there are.
    """

    name: Name | None = None
    gpu: str
    replicas: Annotated[int, Field(gt=0, le=10_000)] = 1
    tensor_parallel: PositiveInt = 1
    usd_per_gpu_hour: Usd | None = None  # overrides the catalog's price
    model: Annotated[ModelChoice, BeforeValidator(model_by_name)] | None = None
    region: Name = "local"
    tenants: list[str] = Field(default_factory=list)
    autoscale: Autoscale | None = None


class TenantGroup(Strict):
    """`count` alike tenants, named `name-0000` …, each with `adapters` adapters (0: base model).

    A trace may call the only tenant of a group by the group's bare name.

    `model`: name of the base model they ask for, and that their adapters were trained for; the
    scenario's by default. `regions`: where their requests may be served, the first is home; without
    any they may be served anywhere, and home is that of the first pool that may serve them.
    `prompt_tokens` and `output_tokens` take the place of the workload's. `profile`: what kind of
    work they bring, for bin-packed placement; the group's name by default. `prompt_class`: whether
    a prefix cache with `selective` isolation may share their prompts with everybody. `trust_class`:
    with whom they may share a batch, see `engine.scheduler.trust`. `rollout`: how their adapters go
    from one version to the next.
    """

    name: Name
    count: Annotated[int, Field(gt=0, le=1_000_000)] = 1
    tier: Name = "standard"
    adapters: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    adapter: AdapterShape = AdapterShape()
    rate_rps_each: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None
    prompt_class: Literal["public", "private"] = "private"
    trust_class: Name = "default"
    model: str | None = None
    regions: list[Name] = Field(default_factory=list)
    prompt_tokens: Length | None = None
    output_tokens: Length | None = None
    profile: Name | None = None
    rollout: Rollout | None = None
