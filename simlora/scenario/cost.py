"""What things cost, and how the bill is divided: the `cost` block of a scenario.

A default is 0 or null where nobody but the user knows the figure. The others come from an industry
guide to multi-tenant LoRA serving (2026; "the guide" below), from a paper, or from a law, and say
which; those that only say what to look at (months, room for KV cache) are choices.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from simlora.scenario.adapter_shape import AdapterShape
from simlora.scenario.field_types import (
    Duration,
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tokens,
    Usd,
)
from simlora.scenario.strict import Strict

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]
MoreThanNoDays = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]


class Method(Strict):
    """Shares of the bill that are divided by each measure of use; they add up to 1.

    `gpu_seconds`: the time of batches, each step's shared by its tokens. `compute_units`: the
    operations of a tenant's tokens, those of its adapter and its contexts among them. `tokens`:
    prompt and output tokens alike. `residency`: bytes in GPU memory, of adapters and KV cache,
    over time.
    """

    gpu_seconds: Share = 0.0
    compute_units: Share = 0.0
    tokens: Share = 0.0
    residency: Share = 0.0

    @model_validator(mode="after")
    def _add_up(self) -> Method:
        total = math.fsum(self.model_dump().values())
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"the weights must add up to 1, not {total:g}")
        return self


METHODS = tuple(Method.model_fields)


def method_by_name(value: Any) -> Any:
    """A bare name stands for the whole bill by that method."""
    return {value: 1.0} if isinstance(value, str) else value


class Attribution(Strict):
    """How the fleet's bill is divided among tenants.

    `idle`: what GPUs cost while they compute nothing is a line of its own, or is spread over the
    tenants in proportion to the rest. Idle time of a pool that is dedicated to tenants is theirs
    either way. `input_weight` and `output_weight`: what an operation of a prompt and of an output
    token counts as compute units; by default as the Virtual Token Counter weighs tokens (arXiv
    2401.00588).
    """

    method: Annotated[Method, BeforeValidator(method_by_name)] = Method(gpu_seconds=1.0)
    idle: Literal["own_line", "spread"] = "own_line"
    input_weight: NonNegativeFloat = 1.0
    output_weight: NonNegativeFloat = 2.0

    @model_validator(mode="after")
    def _counts_something(self) -> Attribution:
        if not self.input_weight + self.output_weight:
            raise ValueError("input_weight or output_weight must be more than 0")
        return self


class GpuPrices(Strict):
    """How GPUs are bought, by shares of the fleet; a pool's price is that on demand.
    `spot_interruptions_per_day` are those of one GPU; each loses `spot_recovery_s`, which has to be
    bought again."""

    reserved_share: Share = 0.0
    reserved_discount: Share = 0.0
    spot_share: Share = 0.0
    spot_discount: Share = 0.0
    spot_interruptions_per_day: NonNegativeFloat = 0.0
    spot_recovery_s: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _within_the_fleet(self) -> GpuPrices:
        if self.reserved_share + self.spot_share > 1 + 1e-9:
            raise ValueError("reserved_share and spot_share must not add up to more than 1")
        if self.spot_interruptions_per_day * self.spot_recovery_s >= 86_400:
            raise ValueError(
                "spot_interruptions_per_day * spot_recovery_s must be less than a day, or nothing "
                "is left of it to compute in"
            )
        return self


class Storage(Strict):
    """Adapters in object storage: all of them, in `versions` versions each, `copies` times."""

    usd_per_gb_month: Usd = 0.0
    versions: PositiveInt = 1
    copies: PositiveInt = 1


class Egress(Strict):
    """What answers cost on their way out; `bytes_per_output_token` with the protocol around it."""

    usd_per_gb: Usd = 0.0
    bytes_per_output_token: NonNegativeFloat = 0.0


class Training(Strict):
    """One training of an adapter. Its time is that of its operations at `utilization` of the GPUs'
    peak (the MFU: large dense models are reported to reach 0.46, arXiv 2204.02311, appendix B; for
    adapters it is often less), or `hours` where it was measured.

    `full`: all weights are trained, not an adapter. `retrain_every_days`: 90 in the guide.
    """

    examples: PositiveInt = 10_000  # the guide
    tokens_per_example: Tokens
    epochs: PositiveFloat = 1.0
    adapter: AdapterShape = AdapterShape()
    gpu: str = "h100-80gb"  # the guide
    gpus: PositiveInt = 4  # the guide
    usd_per_gpu_hour: Usd | None = None  # the catalog's
    utilization: Fraction
    hours: PositiveFloat | None = None
    retrain_every_days: MoreThanNoDays | None = 90.0


class Team(Strict):
    """People. The guide has about 5 for 1,000 adapters."""

    fte: NonNegativeFloat = 0.0
    usd_per_fte_year: Usd = 0.0


class TokenPrices(Strict):
    """What a tenant pays for tokens, beside its tier's `price_usd_month`."""

    usd_per_million_input_tokens: Usd = 0.0
    usd_per_million_output_tokens: Usd = 0.0


class Credit(Strict):
    """A share of a tenant's price given back if fewer of its requests than `below` were within
    every bound of its tier; of several, the largest."""

    below: Fraction
    share: Share


class Rag(Strict):
    """Retrieval in place of training. Set-up and month as in the guide (~$1 and ~$5 a tenant);
    `context_tokens` more are in every prompt."""

    setup_usd: Usd = 1.0
    usd_per_month: Usd = 5.0
    usd_per_query: Usd = 0.0
    context_tokens: Count = 0


class FewShot(Strict):
    """Examples in every prompt in place of training."""

    examples: Count = 0
    tokens_per_example: Count = 0


class Alternatives(Strict):
    """Other ways to serve the same demand. `lora_overhead` is the share of throughput that LoRA
    takes in mixed batches (10 to 20 % in the guide), which merged weights do not pay;
    `dedicated_utilization` how busy a replica of one tenant can be (30 to 50 % in the guide).
    `amortize_months`: over which set-up is spread. `lora_setup_usd` ($300 in the guide) counts
    where there is no `training`."""

    few_shot: FewShot = FewShot()
    rag: Rag = Rag()
    lora_setup_usd: Usd = 300.0
    lora_overhead: Annotated[float, Field(ge=0, lt=1)] = 0.1
    dedicated_utilization: Fraction = 0.4
    amortize_months: PositiveFloat = 12.0
    full_training: Training | None = None


class Density(Strict):
    """Which GPUs and models the table of adapters a GPU compares (default: all GPUs of the catalog,
    with the scenario's model), with room for `kv_tokens` tokens of KV cache on each replica."""

    gpus: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    adapter: AdapterShape = AdapterShape()
    kv_tokens: PositiveInt = 131_072


class Migration(Strict):
    """All adapters move to another base model: they are trained again on `gpus` GPUs within
    `window_days`, while both bases are served side by side. `adapters`: by default all there are;
    `gpu_hours_each`: by default those of `training`; without `training`, on one GPU each and at
    what a GPU-hour of the fleet costs."""

    to: str
    gpus: PositiveInt
    window_days: MoreThanNoDays
    adapters: PositiveInt | None = None
    gpu_hours_each: PositiveFloat | None = None


class Deletion(Strict):
    """How long a deleted adapter stays where. Replicas drop it when its last request has ended;
    `propagation_s`: until they and their host memory and disks have heard of it; `store_s`: until
    object storage has forgotten it; backups keep it for `backup_retention_days`, and files under
    audit for `audit_retention_days`. `due_days`: when it has to be gone (a month: GDPR, article
    12(3))."""

    propagation_s: Duration | None = None
    store_s: Duration | None = None
    backup_retention_days: Days = 0.0
    audit_retention_days: Days = 0.0
    due_days: MoreThanNoDays = 30.0


class Growth(Strict):
    """Output tokens that grow by the share `per_month`, as users come to trust a tuned model,
    looked at over `months`; replicas are added when the load would be more than `busy_limit` of
    what they can do (shared pools reach 70 to 85 % in the guide)."""

    per_month: Annotated[float, Field(ge=0, le=10)] = 0.0
    months: Annotated[int, Field(gt=0, le=120)] = 12
    busy_limit: Fraction = 0.85


class Cost(Strict):
    """Prices beyond the GPUs', how to divide the bill, and what else to look at.
    `evaluation_usd_each` is for each `training`."""

    attribution: Attribution = Attribution()
    gpu: GpuPrices = GpuPrices()
    host_usd_per_gpu_hour: Usd = 0.0
    storage: Storage = Storage()
    egress: Egress = Egress()
    training: Training | None = None
    evaluation_usd_each: Usd = 0.0
    onboarding_usd_each: Usd = 0.0
    onboarded_per_month: NonNegativeFloat = 0.0
    team: Team = Team()
    growth: Growth = Growth()
    prices: dict[Name, TokenPrices] = Field(default_factory=dict)
    credits: dict[Name, list[Credit]] = Field(default_factory=dict)
    alternatives: Alternatives = Alternatives()
    density: Density = Density()
    migration: Migration | None = None
    deletion: Deletion = Deletion()
