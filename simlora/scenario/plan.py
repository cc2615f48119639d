"""What `plan` may choose from: the `plan` block of a scenario."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from simlora.scenario.adapters import Eviction
from simlora.scenario.field_types import Name, NonNegativeFloat, PositiveInt
from simlora.scenario.strict import Strict


class Plan(Strict):
    """The fleets that `plan` searches: all combinations of the lists, with 1 to `max_replicas`
    replicas. A list that is left out (null) stands for the scenario's own value, but `gpus` for the
    GPUs of the catalog that clouds let, and `tensor_parallel` for 1, 2, 4 and 8.

    `weights`: how the base model is stored; quantizing it changes its answers, which no simulation
    judges. `hot_adapters` are `engine.memory.max_loras` where memory is in slots, else
    `adapters.hot.max_adapters`; `warm_gb` is `adapters.warm.capacity_gb`, `eviction` that of the
    hot tier, `routing` and `admission` (`max_queue`) are the gateway's.

    A fleet meets its promises if it keeps them on the scenario's own seed and on each of
    `replications` further ones, and if these show with `confidence` that the mean share of requests
    that break a promise is no more than the promise allows. The cheapest is then confirmed in the
    same way on as many fresh seeds.
    """

    gpus: Annotated[list[str], Field(min_length=1)] | None = None
    tensor_parallel: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    weights: (
        Annotated[list[Literal["bf16", "fp8", "int8", "int4", "nvfp4"]], Field(min_length=1)] | None
    ) = None
    max_replicas: Annotated[int, Field(gt=0, le=10_000)] = 32
    hot_adapters: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    warm_gb: Annotated[list[NonNegativeFloat], Field(min_length=1)] | None = None
    eviction: Annotated[list[Eviction], Field(min_length=1)] | None = None
    routing: Annotated[list[str], Field(min_length=1)] | None = None
    admission: (
        Annotated[
            list[dict[Name, Annotated[int, Field(ge=0, le=1_000_000_000)]]], Field(min_length=1)
        ]
        | None
    ) = None
    confidence: Annotated[float, Field(ge=0.5, lt=1, allow_inf_nan=False)] = 0.95
    replications: Annotated[int, Field(ge=2, le=1000)] = 5
