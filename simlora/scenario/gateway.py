"""The front door and what it promises: the `gateway` block of a scenario."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from simlora.scenario.field_types import (
    Duration,
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Rate,
)
from simlora.scenario.strict import Strict


class RateLimit(Strict):
    """Token buckets of a tenant: requests (`rps` sustained, `burst` at once) and tokens
    (`tokens_per_s`, `burst_tokens`; a request takes its prompt and its longest answer). A request
    over either is turned away (429) or delayed."""

    rps: Rate | None = None
    burst: PositiveInt = 1
    tokens_per_s: Rate | None = None
    burst_tokens: PositiveInt | None = None  # default: ten seconds' worth
    over_limit: Literal["reject", "delay"] = "reject"

    @model_validator(mode="after")
    def _limits_something(self) -> RateLimit:
        if self.rps is None and self.tokens_per_s is None:
            raise ValueError("needs rps, tokens_per_s or both")
        return self


class Fairness(Strict):
    """Which waiting request is admitted next: `fcfs`, `priority`, `wfq`, `drr`, `vtc`, `sjf`, or
    the dotted path of one's own discipline.

    A flow is what is served fairly: a tenant, or a tier with all its tenants. Service is counted in
    weighted tokens, `input_weight` x prompt + `output_weight` x output; a tier's `weight` is that
    of its flows. `quantum_tokens` (drr) is what a round gives the flow of least weight. `age_s`
    (priority, sjf): after so many seconds of waiting a request is lifted. `reserved` (wfq, vtc):
    the fraction of the service that a tier has while it has work. `oracle` (sjf, wfq) takes the
    true length of an answer for the expected one.
    """

    policy: str = "fcfs"
    by: Literal["tenant", "tier"] = "tenant"
    input_weight: PositiveFloat = 1.0
    output_weight: NonNegativeFloat = 2.0
    quantum_tokens: PositiveInt = 2048
    age_s: Duration | None = None
    reserved: dict[Name, Fraction] = Field(default_factory=dict)
    oracle: bool = False

    @model_validator(mode="after")
    def _no_more_than_all(self) -> Fairness:
        total = sum(self.reserved.values())
        if total > 1 + 1e-9:
            raise ValueError(f"the fractions of reserved must add up to at most 1, not {total:g}")
        return self


class Gateway(Strict):
    """`rate_limits` and `kv_budgets` map a tier's or a tenant's name to its own (the tenant's wins
    of rate limits; of budgets both hold). `kv_budgets`: the share of a replica's KV cache that
    running requests may hold, prompt and longest answer counted."""

    routing: str = "least_loaded"
    rate_limits: dict[str, RateLimit] = Field(default_factory=dict)
    fairness: Fairness = Fairness()
    kv_budgets: dict[str, Fraction] = Field(default_factory=dict)
