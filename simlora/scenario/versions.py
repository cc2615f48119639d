"""How a tenant group's adapters go from one version to the next: the `rollout` of a group."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simlora.scenario.adapter_shape import AdapterShape
from simlora.scenario.field_types import Duration, Fraction, Name, PositiveInt
from simlora.scenario.strict import Strict

STABLE = "stable"  # the version that was there before

Seconds = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=1, le=1_000_000, allow_inf_nan=False)]


class Candidate(Strict):
    """The next version of each adapter of a group. It is called `<adapter>@<name>`.

    `adapter`: its shape, by default the group's. `model`: name of the base model it was trained
    for, by default the group's; a pool has to serve it. Its answers are `output_factor` times as
    long, as far as the context reaches.
    """

    name: Name = "v2"
    adapter: AdapterShape | None = None
    model: str | None = None
    output_factor: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] = 1.0


class Rollback(Strict):
    """When the candidate is given up: once the `percentile` of its TTFT, TPOT or E2E latency over
    the last `window_s` seconds is more than so many times the stable version's over the same time,
    and both were measured on at least `min_requests`. A failed request counts as infinitely late.
    """

    ttft_ratio: Ratio | None = 1.5
    tpot_ratio: Ratio | None = None
    e2e_ratio: Ratio | None = None
    percentile: Literal[50, 90, 95, 99] = 99
    min_requests: PositiveInt = 200
    window_s: Duration = 300.0

    @model_validator(mode="after")
    def _compares_something(self) -> Rollback:
        if self.ttft_ratio is None and self.tpot_ratio is None and self.e2e_ratio is None:
            raise ValueError("needs at least one of ttft_ratio, tpot_ratio and e2e_ratio")
        return self


class Rollout(Strict):
    """Which version of an adapter serves a request that names it, from `start_s` on.

    `pinned`: the stable one serves all; the candidate only lies ready, and the other fields wait.
    `canary`: the candidate serves a `share` of the requests, whole sessions where there are any,
    and from `end_s` on all of them, unless it was rolled back. `ab`: the candidate serves a `share`
    of the users until `end_s`; a user is a session of a tenant, or the tenant where there are none.
    `shadow`: the stable one serves all, and a `share` is also sent to the candidate, whose answers
    nobody waits for, until `end_s`. `switch`: tenant n of the group (from 0) changes over to the
    candidate for good at `start_s + n * every_s`, as adapters are retrained one after another.
    """

    mode: Literal["pinned", "canary", "ab", "shadow", "switch"]
    candidate: Candidate = Candidate()
    share: Fraction | None = None
    start_s: Seconds = 0.0
    end_s: Seconds | None = None  # default: the run's
    every_s: Duration | None = None
    rollback: Rollback | None = None
