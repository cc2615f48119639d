"""What the tiers promise, and how many requests of each tier the traffic holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.workload.traffic import open_traffic

LATE_SHARE = 0.01  # of requests, that the promise of a p99 lets be late
WORDS = {
    "ttft_p99_s": "p99 TTFT",
    "tpot_p99_s": "p99 TPOT",
    "e2e_p99_s": "p99 end to end",
    "availability": "availability",
}


@dataclass(frozen=True, slots=True)
class Promise:
    """One bound of one tier. `allowed` is the share of its requests that may break it."""

    tier: int
    tier_name: str
    bound: str
    value: float
    allowed: float

    @property
    def name(self) -> str:
        """Such as `p99 TTFT of gold`."""
        return f"{WORDS[self.bound]} of {self.tier_name}"

    def figure(self, value: float) -> str:
        """A measured or promised value in words."""
        if self.bound == "availability":
            return f"{100 * value:.6g} %"
        return f"{value:.3g} s"


def promises_of(deployment: Deployment) -> tuple[Promise, ...]:
    """All promises of the tiers that have tenants, in the order of the tiers.

    Raises UserError if there are none: every fleet would meet them.
    """
    used = {tenant.tier for tenant in deployment.tenants}
    found = tuple(
        Promise(
            index,
            name,
            bound,
            value,
            round(1 - value, 12) if bound == "availability" else LATE_SHARE,
        )
        for index, (name, tier) in enumerate(
            zip(deployment.tier_names, deployment.tiers, strict=True)
        )
        if index in used
        for bound, value in tier.sla.model_dump().items()
        if value is not None
    )
    if not found:
        raise UserError(
            "tiers: none promises anything, so the smallest fleet would do; give a tier that has "
            "tenants an sla, for example {ttft_p99_s: 1.0}"
        )
    return found


def requests_by_tier(scenario: Scenario, seed: int, least_tokens: int = 1) -> tuple[int, ...]:
    """Requests of each tier that arrive after the warm-up with that seed and are answered by at
    least so many tokens. Raises UserError."""
    deployment = expand(scenario.model_copy(update={"seed": seed}))
    tier_of = np.array([tenant.tier for tenant in deployment.tenants])
    counts = np.zeros(len(deployment.tiers), dtype=np.int64)
    for block in open_traffic(deployment).blocks():
        rows = (block.arrival_s >= scenario.run.warmup_s) & (block.output_tokens >= least_tokens)
        counts += np.bincount(tier_of[block.tenant[rows]], minlength=len(counts))
    return tuple(counts.tolist())


def least_requests(promise: Promise, confidence: float) -> int:
    """How many requests have to keep a promise, none breaking it, before that shows with this
    confidence that no more than the allowed share does: allowed > 1 - (1 - confidence)^(1/n)
    (Clopper and Pearson 1934, Biometrika 26, 404-413, for no failure)."""
    if promise.allowed <= 0:
        return 1  # nothing may break it, and no number of requests can show that
    return math.ceil(math.log(1 - confidence) / math.log1p(-promise.allowed))
