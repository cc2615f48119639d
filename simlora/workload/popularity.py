"""Who asks: the split of the load over tenants and their adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlora.errors import UserError
from simlora.scenario.traffic import Popularity, Top, Zipf
from simlora.workload.blocks import Floats, Tokens
from simlora.workload.randomness import Purpose, stream

if TYPE_CHECKING:
    from simlora.scenario.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Targets:
    """Everything a request can be for: each adapter of each tenant, or a tenant's base model.

    `share_end[i]` is the cumulated share of requests up to target i; `rate_rps` the whole load.
    """

    tenant: Tokens
    adapter: Tokens
    share_end: Floats
    rate_rps: float

    def draw(self, random: np.random.Generator, count: int) -> tuple[Tokens, Tokens]:
        """Return `count` tenants and adapters."""
        index = np.searchsorted(self.share_end, random.random(count), side="right")
        np.minimum(index, len(self.share_end) - 1, out=index)
        return self.tenant[index], self.adapter[index]

    def of_tenant(self, tenant: int) -> Tokens:
        """Return the adapters of one tenant (-1: the base model), all alike."""
        adapters: Tokens = self.adapter[self.tenant == tenant]
        return adapters


def targets_of(deployment: Deployment) -> Targets:
    """Return the targets of a scenario with synthetic traffic.

    With `rate_rps` the load is split by popularity: targets are ranked in an order drawn once from
    the seed (so that tenant groups mix), and the k-th gets its share of that law. With
    `rate_rps_each` every tenant of a group sends at that rate, evenly over its adapters.

    Raises:
        UserError: the rates sum to 0.
    """
    tenants, adapters = [], []
    for member in deployment.tenants:
        own = list(member.adapters) or [-1]
        tenants += [member.index] * len(own)
        adapters += own
    workload = deployment.scenario.workload
    if workload.rate_rps is not None:
        rate_rps = workload.rate_rps
        ranking = stream(deployment.scenario.seed, Purpose.RANKING)
        shares = ranking.permutation(shares_by_rank(workload.popularity, len(tenants)))
    else:
        groups = deployment.scenario.tenants
        each = [groups[member.group].rate_rps_each or 0.0 for member in deployment.tenants]
        rate_rps = float(np.sum(each))
        if rate_rps == 0:
            raise UserError("tenants: every rate_rps_each is 0; at least one must be above 0")
        share = np.array(each) / rate_rps
        shares = share[tenants] / np.bincount(tenants)[tenants]
    return Targets(
        np.array(tenants, dtype=np.int32),
        np.array(adapters, dtype=np.int32),
        np.cumsum(shares),
        rate_rps,
    )


def shares_by_rank(popularity: Popularity, count: int) -> Floats:
    """Return the shares of `count` targets, most popular first; they sum to 1."""
    if isinstance(popularity, Top):
        top = popularity.top
        head, tail = _zipf(top.count, top.zipf), _zipf(count - top.count, top.zipf)
        return np.concatenate([top.share * head, (1 - top.share) * tail])
    return _zipf(count, popularity.zipf if isinstance(popularity, Zipf) else 0.0)


def _zipf(count: int, zipf: float) -> Floats:
    shares = np.arange(1, count + 1, dtype=np.float64) ** -zipf
    return shares / shares.sum()
