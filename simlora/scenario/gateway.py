"""The front door and what it promises: the `gateway` block of a scenario."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simlora.scenario.field_types import (
    Duration,
    Fraction,
    Latency,
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


class Admission(Strict):
    """Requests are turned away (503) while more than so many wait on each replica that may serve
    them, on average: by tier in `max_queue`; tiers that are not named are always let in."""

    max_queue: dict[Name, Annotated[int, Field(ge=0, le=1_000_000_000)]] = Field(
        default_factory=dict
    )
    retry_after_s: Latency = 2.0


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
    running requests may hold, prompt and longest answer counted. `timeouts_s`, by tier: a request
    that is not complete so long after it came is given up.

    `on_replica_loss`: the requests of a replica that crashes go on elsewhere from the tokens that
    they had, or fail. `when_unavailable`: requests that no replica can take wait until one is up,
    or are turned away (503).

    `placement`: `shared` lets every replica serve whom it may; `bin_packed` gives each workload
    profile replicas of its own and packs tenants onto them. `cross_region_s` is the network time of
    a request that is served outside its home region."""

    routing: str = "least_loaded"
    rate_limits: dict[str, RateLimit] = Field(default_factory=dict)
    fairness: Fairness = Fairness()
    kv_budgets: dict[str, Fraction] = Field(default_factory=dict)
    admission: Admission = Admission()
    timeouts_s: dict[Name, Duration] = Field(default_factory=dict)
    on_replica_loss: Literal["retry", "fail"] = "retry"
    when_unavailable: Literal["wait", "reject"] = "wait"
    placement: Literal["shared", "bin_packed"] = "shared"
    cross_region_s: Latency = 0.08
