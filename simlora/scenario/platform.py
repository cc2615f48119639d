"""What serves, and whom: base model, fleet and tenants of a scenario."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from simlora.scenario.field_types import Name, PositiveInt, Usd
from simlora.scenario.strict import Strict


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
    """A pool of identical replicas; a replica is `tensor_parallel` GPUs serving one base model."""

    gpu: str
    replicas: Annotated[int, Field(gt=0, le=10_000)] = 1
    tensor_parallel: PositiveInt = 1
    usd_per_gpu_hour: Usd | None = None  # overrides the catalog's price


TargetSet = Literal["all-linear", "attention", "qv"]
TargetModule = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _set_or_list(value: Any) -> str:
    return "<list>" if isinstance(value, (list, tuple)) else "<name>"


Targets = Annotated[
    Annotated[TargetSet, Tag("<name>")]
    | Annotated[list[TargetModule], Field(min_length=1), Tag("<list>")],
    Discriminator(_set_or_list),
]


class AdapterShape(Strict):
    """Rank and target modules of an adapter. `targets` is a set's name or a list of modules."""

    rank: Annotated[int, Field(gt=0, le=1024)] = 16
    targets: Targets = "all-linear"


class TenantGroup(Strict):
    """`count` alike tenants, named `name-0000` …, each with `adapters` adapters (0: base model).

    A trace may call the only tenant of a group by the group's bare name.
    """

    name: Name
    count: Annotated[int, Field(gt=0, le=1_000_000)] = 1
    tier: Name = "standard"
    adapters: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    adapter: AdapterShape = AdapterShape()
    rate_rps_each: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] | None = None
