"""The whole bill of a month, line by line, and who pays how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np

from simlora.cost.training import Estimate, trainings_per_month
from simlora.cost.usage import months_of
from simlora.results.arrays import Floats
from simlora.results.bill import Divided, Rent, Usage, divide
from simlora.scenario.cost import Cost
from simlora.scenario.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Month:
    """USD of a month by line and tenant. `lines` has what each tenant pays of a line, `nobody_usd`
    what idle GPUs cost that no tenant pays for."""

    lines: Mapping[str, Floats]
    nobody_usd: float

    @property
    def of_tenants(self) -> Floats:
        """What each tenant costs."""
        total: Floats = np.sum(list(self.lines.values()), axis=0)
        return total

    @property
    def bill(self) -> dict[str, float]:
        """What each line comes to."""
        lines = {name: fsum(amounts) for name, amounts in self.lines.items()}
        return lines | {"idle GPUs": lines["idle GPUs"] + self.nobody_usd}

    @property
    def usd(self) -> float:
        """All of it."""
        return fsum(self.bill.values())


def month(
    deployment: Deployment,
    summary: Mapping[str, Any],
    usage: Usage,
    rented: Sequence[Rent],
    cost: Cost,
    training: Estimate | None,
) -> Month:
    """The bill of a month in which everything goes on as it did in the run.

    GPUs and their hosts are divided as asked, storage by bytes, training and evaluation by
    adapters, egress by output tokens, onboarding and people evenly.
    """
    scale = months_of(summary)
    divided: Divided = divide(usage, rented, cost.attribution)
    tenants = len(deployment.tenants)
    adapters = np.array([len(tenant.adapters) for tenant in deployment.tenants], dtype=np.float64)
    adapter_gb = np.zeros(tenants)
    for adapter in deployment.adapters:
        adapter_gb[adapter.tenant] += adapter.nbytes / 1e9
    stored_gb = adapter_gb * cost.storage.versions * cost.storage.copies
    sent_gb = usage.total("output_tokens") * scale * cost.egress.bytes_per_output_token / 1e9
    trained = 0.0
    if training is not None and cost.training is not None:
        trained = trainings_per_month(cost.training)
    training_usd = 0.0 if training is None else training.usd
    evenly = np.full(tenants, 1 / tenants)
    return Month(
        {
            "serving": divided.serving * scale,
            "cold starts": divided.cold_starts * scale,
            "idle GPUs": divided.idle * scale,
            "storage": stored_gb * cost.storage.usd_per_gb_month,
            "egress": sent_gb * cost.egress.usd_per_gb,
            "training": adapters * trained * training_usd,
            "evaluation": adapters * trained * cost.evaluation_usd_each,
            "onboarding": evenly * cost.onboarded_per_month * cost.onboarding_usd_each,
            "team": evenly * cost.team.fte * cost.team.usd_per_fte_year / 12,
        },
        divided.idle_usd * scale,
    )
