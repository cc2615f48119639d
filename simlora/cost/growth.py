"""What the fleet costs when answers grow longer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simlora.cost.alternatives import Demand
from simlora.cost.capacity import saturated_s
from simlora.cost.usage import months_of
from simlora.results.bill import Rent
from simlora.results.summary import MONTH_H
from simlora.scenario.cost import Cost
from simlora.scenario.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Later:
    """A month from now: output tokens over today's, the load of today's replicas (1: all that they
    can do), how many times as many are needed, and USD of GPUs and hosts."""

    month: int
    output_factor: float
    load: float
    fleet_factor: float
    usd: float


def growth(
    deployment: Deployment,
    summary: Mapping[str, Any],
    rented: Sequence[Rent],
    of: Demand,
    cost: Cost,
) -> list[Later]:
    """Month by month, the first being today. Queries stay as many, and their answers grow; whole
    replicas are added to the fleet as a whole once its load would be over `busy_limit`. Empty where
    nothing grows."""
    asked = cost.growth
    if not asked.per_month:
        return []
    replicas = math.fsum(
        pool["replica_s"] / summary["simulation"]["span_s"]
        for pool in summary["simulation"]["fleet"]
    )
    month_usd = math.fsum(rent.usd for rent in rented) * months_of(summary)
    per_s = math.fsum(of.queries) / (MONTH_H * 3600)
    found = []
    for month in range(asked.months + 1):
        factor = (1 + asked.per_month) ** month
        replica_s = saturated_s(
            deployment, of.replica_kind, of.prompt_tokens, of.output_tokens * factor
        )
        needed = math.ceil(per_s * replica_s / asked.busy_limit - 1e-9)
        found.append(
            Later(
                month,
                factor,
                load=per_s * replica_s / replicas,
                fleet_factor=max(1.0, needed / replicas),
                usd=max(1.0, needed / replicas) * month_usd,
            )
        )
    return found
