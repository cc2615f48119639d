"""What must hold between tenant groups and the pools that are to serve them."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.scenario.eligibility import (
    dedicated_pools,
    eligible_pools,
    group_model,
    pool_model,
    pool_names,
)
from simlora.scenario.problems import FieldError, Path, did_you_mean, one_of
from simlora.scenario.schema import Scenario

_MOST_POOLS_TOLD = 4


def check_placement(scenario: Scenario) -> None:
    """Raises FieldError for the first thing that does not fit together."""
    _check_pools(scenario)
    served = list(dict.fromkeys(pool_model(scenario, i).name for i in range(len(scenario.fleet))))
    regions = list(dict.fromkeys(pool.region for pool in scenario.fleet))
    for index, group in enumerate(scenario.tenants):
        where = ("tenants", index)
        if group.model is not None and group.model not in served:
            raise FieldError(
                (*where, "model"),
                f'no pool serves "{group.model}": {did_you_mean(group.model, served)}',
            )
        _check_known(group.regions, regions, (*where, "regions"), "no pool is in region")
        if not eligible_pools(scenario, index):
            raise FieldError(where, _nobody_serves(scenario, index))


def _check_pools(scenario: Scenario) -> None:
    groups = [group.name for group in scenario.tenants]
    seen: dict[str, int] = {}
    for index, name in enumerate(pool_names(scenario)):
        if name in seen:
            own = scenario.fleet[index].name is not None
            raise FieldError(
                ("fleet", index if own else seen[name], "name"),
                f'"{name}" is already the name of fleet.{seen[name] if own else index}'
                + ("" if own else ", which has none but its position"),
            )
        seen[name] = index
        tenants = scenario.fleet[index].tenants
        _check_known(tenants, groups, ("fleet", index, "tenants"), "no tenant group")


def _check_known(names: Sequence[str], known: Sequence[str], where: Path, problem: str) -> None:
    for position, name in enumerate(names):
        if name not in known:
            raise FieldError((*where, position), f'{problem} "{name}": {did_you_mean(name, known)}')
        if name in names[:position]:
            raise FieldError((*where, position), f'"{name}" is given twice')


def _nobody_serves(scenario: Scenario, group_index: int) -> str:
    """Why no pool may serve a group, and what pools there are."""
    regions = scenario.tenants[group_index].regions
    asked = f"no pool may serve it: it needs {group_model(scenario, group_index)}"
    asked += f" in {one_of(regions)}" if regions else ""
    dedicated = dedicated_pools(scenario, group_index)
    asked += " from a pool dedicated to it" if dedicated else " from a pool dedicated to nobody"
    pools = dedicated or range(len(scenario.fleet))
    names = pool_names(scenario)
    told = [
        f"pool {names[index]} serves {pool_model(scenario, index).name} in "
        f"{scenario.fleet[index].region}"
        + (
            f" to {one_of(scenario.fleet[index].tenants, 3)}"
            if scenario.fleet[index].tenants
            else ""
        )
        for index in pools
    ]
    more = f" and {len(told) - _MOST_POOLS_TOLD} more" if len(told) > _MOST_POOLS_TOLD else ""
    return f"{asked}; {', '.join(told[:_MOST_POOLS_TOLD])}{more}"
