"""What a user may ask: the scenario, as strict pydantic models.

Schemas only: no file access and no arithmetic. Every field has a default but `name`, `model`,
`fleet`, `tenants` and `workload`. Units are in the names (`_s`, `_rps`, `_gb` = 1e9 bytes,
`_gbps` = gigabits per second, `_usd`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from simlora.scenario.adapters import (
    Adapters,
    AdaptiveSize,
    Cadence,
    Eviction,
    HotTier,
    LoadFailures,
    NvmeTier,
    Prefetch,
    StoreTier,
    WarmTier,
)
from simlora.scenario.field_types import (
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Usd,
)
from simlora.scenario.gateway import Fairness, Gateway, RateLimit
from simlora.scenario.presets import with_preset
from simlora.scenario.strict import Strict
from simlora.scenario.traffic import (
    BurstArrivals,
    BurstShape,
    ClientRetries,
    CvShape,
    DiurnalArrivals,
    DiurnalShape,
    Empirical,
    Fixed,
    GammaArrivals,
    Lognormal,
    LognormalShape,
    MmppArrivals,
    MmppShape,
    SessionArrivals,
    SessionShape,
    Uniform,
    WeibullArrivals,
    Workload,
    Zipf,
)

__all__ = [
    "AdapterShape",
    "Adapters",
    "AdaptiveSize",
    "BurstArrivals",
    "BurstShape",
    "Cadence",
    "ClientRetries",
    "CvShape",
    "DiurnalArrivals",
    "DiurnalShape",
    "Empirical",
    "Engine",
    "Eviction",
    "Fairness",
    "Fixed",
    "GammaArrivals",
    "Gateway",
    "HotTier",
    "LoadFailures",
    "Lognormal",
    "LognormalShape",
    "Memory",
    "MmppArrivals",
    "MmppShape",
    "ModelChoice",
    "NvmeTier",
    "Pool",
    "Prefetch",
    "PrefixCaching",
    "RateLimit",
    "Run",
    "Scenario",
    "Scheduler",
    "SessionArrivals",
    "SessionShape",
    "Sla",
    "StoreTier",
    "Strict",
    "TenantGroup",
    "Tier",
    "Timing",
    "Uniform",
    "UserCatalog",
    "WarmTier",
    "WeibullArrivals",
    "Workload",
    "Zipf",
]

# --- base model, fleet, tenants -------------------------------------------------------------


class ModelChoice(Strict):
    """The base model: a catalog name or a path to a Hugging Face `config.json`.

    In a scenario a bare name stands for `{name: …}`.
    """

    name: str
    weights: Literal["bf16", "fp8", "int8", "int4", "nvfp4"] = "bf16"


def _model_by_name(value: Any) -> Any:
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


# --- engine ---------------------------------------------------------------------------------


class Memory(Strict):
    """`unified`: one paged pool for KV and adapters. `slots`: `max_loras` slots of `max_lora_rank`
    are taken out of the KV cache, and at most `max_loras` distinct adapters run at a time."""

    mode: Literal["unified", "slots"] = "unified"
    utilization: Fraction = 0.9
    # The pool's size in KV tokens (S-LoRA's --num-token); default: all that is left of memory.
    kv_cache_tokens: PositiveInt | None = None
    max_loras: PositiveInt | None = None
    max_lora_rank: PositiveInt | None = None
    # On each GPU, beside weights, slots, the largest buffers and the KV cache: context of the
    # process, libraries' workspaces, what the allocator loses. The default is what vLLM 0.8.5 took
    # on an H100 with 8 to 384 adapter slots (KV capacities published with arXiv 2508.08343); CUDA
    # graphs lie outside of the budget there.
    runtime_gib: NonNegativeFloat = 0.65
    # Slots hold LoRA matrices of the embedding and the head as well (vLLM's Llama does).
    slot_embeddings: bool = False


class Scheduler(Strict):
    """How a replica forms its batches. `order` is a registered name or a dotted path.

    `batching`: prefill chunks and decodes share a step (`mixed`), or decodes pause while newly
    admitted prompts are computed (`separate`). `admission`: a request comes in when its first chunk
    fits into memory, when all of its prompt does, or when the batch will fit to its end (which
    takes every answer's length to be known, as `max_tokens` with `ignore_eos`); that is looked at
    every `admit_every_steps` decode steps. `scans_waiting`: each step walks the
    waiting requests whose adapters have no slot, at a cost that the timing profile knows. `victim`:
    when memory runs out, the request admitted last is preempted, or of the tier with the least
    weight the last.
    """

    batching: Literal["mixed", "separate"] = "mixed"
    order: str = "fcfs"
    chunked_prefill: bool = True
    admission: Literal["first_chunk", "whole_prompt", "whole_request"] = "whole_prompt"
    admit_every_steps: PositiveInt = 1
    scans_waiting: bool = False
    preemption: Literal["recompute"] = "recompute"
    victim: Literal["last", "lowest_tier"] = "last"


class PrefixCaching(Strict):
    """`isolation` says who may share a cached prefix: nobody but the same adapter, the same
    tenant, or everybody (`shared`)."""

    enabled: bool = True
    isolation: Literal["adapter", "tenant", "shared"] = "adapter"


class Engine(Strict):
    """One replica's engine; the fields are named after vLLM's flags.

    `preset` sets the defaults of the other fields to what a server does (see `presets.py`).
    `adapter_loading`: whether steps go on while an adapter is loaded, or the engine copies it (and
    reads it, if it is on local disk only) between two steps.
    """

    preset: Literal["simlora", "vllm-0.8.5", "vllm-0.5.0", "s-lora"] = "simlora"
    max_num_seqs: PositiveInt = 256
    max_num_batched_tokens: PositiveInt = 8192
    max_model_len: PositiveInt | None = None  # default: the model's own limit
    kv_block_tokens: PositiveInt = 16
    memory: Memory = Memory()
    max_cpu_loras: PositiveInt | None = None
    adapter_loading: Literal["overlap", "blocking"] = "overlap"
    scheduler: Scheduler = Scheduler()
    prefix_cache: PrefixCaching = PrefixCaching()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        return with_preset(given) if isinstance(given, dict) else given


# --- gateway, tiers, the rest ----------------------------------------------------------------


class Sla(Strict):
    """Promised bounds; None is no promise. Attainment counts requests within every bound.

    `availability`: share of completed among the requests that ended, or were still unanswered at
    the end of the run although a bound on their time had passed.
    """

    ttft_p99_s: PositiveFloat | None = None
    tpot_p99_s: PositiveFloat | None = None
    e2e_p99_s: PositiveFloat | None = None
    availability: Fraction | None = None


class Tier(Strict):
    """An SLA tier: its promised bounds are judged. `weight` orders the evictions of policies that
    ask for it. It and `price_usd_month` (of one tenant) are carried into the result's tiers;
    nothing is scheduled or billed by them."""

    weight: PositiveFloat = 1.0
    sla: Sla = Sla()
    price_usd_month: Usd = 0.0


class Timing(Strict):
    """Where step times come from: `nearest` (the shipped profile of `engine.preset` whose hardware
    and model are most like the fleet's; without any, the roofline), `roofline` (datasheet figures),
    the name of a shipped profile, the path of a JSON file that `calibrate` wrote, or a dotted path
    (`package.module:Class`) to one's own TimingModel.

    A profile brings the times of copies into GPU memory along, in place of the GPU's host link and
    `adapters.warm.registration_s`. On other hardware than it was measured on, or for another model,
    it is scaled by the roofline, and the result says so.
    """

    profile: str = "nearest"


class Run(Strict):
    """`warmup_s`: requests that arrive before it are simulated but not counted.
    `fast_forward: false` is the slow step-by-step reference. `report`: write report.html.
    `replications`: how many runs, on as many seeds, `compare` makes of it; `run` makes one."""

    warmup_s: Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)] = 0.0
    fast_forward: bool = True
    report: bool = True
    replications: Annotated[int, Field(gt=0, le=10_000)] = 1


class UserCatalog(Strict):
    """One's own GPUs and models, or changed figures of known ones (`base` names what to start
    from); same fields as the catalog's data files."""

    gpus: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    models: dict[Name, dict[str, Any]] = Field(default_factory=dict)


class Scenario(Strict):
    """A whole question to the simulator.

    `load_scenario` and `with_overrides` tell a mistake as a UserError; made directly, a scenario
    raises pydantic's ValidationError, and what does not fit together shows in `simulate`.
    """

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    model: Annotated[ModelChoice, BeforeValidator(_model_by_name)]
    fleet: Annotated[list[Pool], Field(min_length=1)]
    tenants: Annotated[list[TenantGroup], Field(min_length=1)]
    workload: Workload
    engine: Engine = Engine()
    adapters: Adapters = Adapters()
    gateway: Gateway = Gateway()
    tiers: dict[Name, Tier] = Field(default_factory=dict)
    timing: Timing = Timing()
    run: Run = Run()
    catalog: UserCatalog = UserCatalog()

    def with_overrides(self, overrides: Mapping[str, Any]) -> Scenario:
        """A copy with some fields changed, by dotted key: `{"fleet.0.replicas": 2}`.

        Raises UserError for a key that does not exist or a value that does not fit.
        """
        from simlora.scenario.loading import override_scenario

        return override_scenario(self, overrides)
