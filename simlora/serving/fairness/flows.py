"""Flows: who is to be served fairly, with what weight."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import Fairness

FIELD = "gateway.fairness"


@dataclass(frozen=True, slots=True)
class FlowTable:
    """Tenants, flows and tiers by index. With `shares` each tier has that fraction of the service
    while it has work, and its flows divide it by their weights; without, all flows divide all."""

    flow_of_tenant: tuple[int, ...]
    tier_of_flow: tuple[int, ...]
    weights: tuple[float, ...]  # of the flows
    tier_weights: tuple[float, ...]
    shares: tuple[float, ...] = ()  # of the tiers; those without tenants have 0

    @classmethod
    def of(cls, deployment: Deployment, options: Fairness) -> FlowTable:
        """The flows of a deployment. Raises UserError if `reserved` names no tier, or leaves one
        with nothing."""
        tenant_tiers = tuple(tenant.tier for tenant in deployment.tenants)
        tier_weights = tuple(tier.weight for tier in deployment.tiers)
        if options.by == "tier":
            flow_of_tenant = tenant_tiers
            tier_of_flow = tuple(range(len(tier_weights)))
        else:
            flow_of_tenant = tuple(range(len(tenant_tiers)))
            tier_of_flow = tenant_tiers
        return cls(
            flow_of_tenant=flow_of_tenant,
            tier_of_flow=tier_of_flow,
            weights=tuple(tier_weights[tier] for tier in tier_of_flow),
            tier_weights=tier_weights,
            shares=_shares(deployment, options) if options.reserved else (),
        )


def _shares(deployment: Deployment, options: Fairness) -> tuple[float, ...]:
    """The reserved fractions; tiers without one divide the rest by their weights."""
    reserved, names = options.reserved, deployment.tier_names
    for name in reserved:
        if name not in names:
            raise UserError(
                f"{FIELD}.reserved: unknown tier {name!r}; allowed are {', '.join(names)}"
            )
    inhabited = {tenant.tier for tenant in deployment.tenants}
    others = [tier for tier in sorted(inhabited) if names[tier] not in reserved]
    rest = 1 - fsum(reserved.values())
    if others and rest < 1e-9:
        raise UserError(
            f"{FIELD}.reserved: the fractions add up to 1, which leaves nothing for tier "
            f"{names[others[0]]!r}; allowed is less than 1, or a fraction for every tier"
        )
    weight = fsum(deployment.tiers[tier].weight for tier in others)
    shares = [reserved.get(name, 0.0) for name in names]
    for tier in others:
        shares[tier] = rest * deployment.tiers[tier].weight / weight
    return tuple(shares)
