"""Which pools may serve whom: by model, region and dedication."""

from __future__ import annotations

from simlora.scenario.platform import ModelChoice
from simlora.scenario.schema import Scenario


def pool_names(scenario: Scenario) -> list[str]:
    """A name for each pool of the fleet: its own, or else its position."""
    return [pool.name or str(index) for index, pool in enumerate(scenario.fleet)]


def pool_model(scenario: Scenario, pool_index: int) -> ModelChoice:
    """The base model that a pool serves."""
    return scenario.fleet[pool_index].model or scenario.model


def group_model(scenario: Scenario, group_index: int) -> str:
    """Name of the base model that the tenants of a group ask for."""
    return scenario.tenants[group_index].model or scenario.model.name


def dedicated_pools(scenario: Scenario, group_index: int) -> list[int]:
    """The pools that are dedicated to a tenant group."""
    name = scenario.tenants[group_index].name
    return [index for index, pool in enumerate(scenario.fleet) if name in pool.tenants]


def eligible_pools(
    scenario: Scenario, group_index: int, model: str | None = None
) -> tuple[int, ...]:
    """The pools that may serve a tenant group, for requests to the base model `model` (or to an
    adapter of it); by default the group's own."""
    asked = group_model(scenario, group_index) if model is None else model
    regions = scenario.tenants[group_index].regions
    pools = dedicated_pools(scenario, group_index) or [
        index for index, pool in enumerate(scenario.fleet) if not pool.tenants
    ]
    return tuple(
        index
        for index in pools
        if pool_model(scenario, index).name == asked
        and (not regions or scenario.fleet[index].region in regions)
    )


def home_region(scenario: Scenario, group_index: int) -> str:
    """The region that a group's requests come from: the first that it names, or else that of the
    first pool that may serve it."""
    regions = scenario.tenants[group_index].regions
    if regions:
        return regions[0]
    pools = eligible_pools(scenario, group_index)
    return scenario.fleet[pools[0] if pools else 0].region
