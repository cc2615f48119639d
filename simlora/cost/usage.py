"""What a run says of who used how much, and of what was rented for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlora.cost.prices import rented_usd_per_gpu_hour
from simlora.errors import UserError
from simlora.results.arrays import Bools, Floats, Ints
from simlora.results.files import TENANTS
from simlora.results.result import Result
from simlora.results.summary import MONTH_H
from simlora.results.usage import BY_POOL, QUANTITIES
from simlora.scenario.cost import Cost
from simlora.scenario.deployment import Deployment

_SECONDS_AN_HOUR = 3600.0


class NotTakenDown(UserError):
    """The run is of a version that did not take down what bills are made of."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Each of `QUANTITIES` by pool (rows) and tenant (columns)."""

    quantities: Mapping[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.quantities[name]

    def total(self, name: str) -> Floats:
        """By tenant, over all pools."""
        total: Floats = self.quantities[name].sum(axis=0)
        return total


@dataclass(frozen=True, slots=True)
class Rent:
    """What one pool cost over a run: `usd` for `gpu_s` GPU-seconds, busy or not. `owners`: the
    tenants that it is dedicated to, nobody if it is shared."""

    name: str
    usd: float
    gpu_s: float
    owners: Bools


def read_usage(result: Result) -> Usage:
    """What each tenant of a run used.

    Raises:
        NotTakenDown: the run's table of tenants has not what it takes.
    """
    table, pools = result.tenants, len(result.summary["simulation"]["fleet"])
    found = {}
    for name in QUANTITIES:
        column = name if pools == 1 else f"{name}{BY_POOL}"
        if column not in table:
            raise NotTakenDown(
                f"{result.directory / TENANTS}: has no column {column}, which bills are made of; "
                "run the scenario again with this version of simlora"
            )
        values = table[column].to_numpy()
        rows = values[np.newaxis, :] if pools == 1 else np.stack(list(values)).T
        found[name] = rows.astype(np.float64)
    return Usage(found)


def rents(deployment: Deployment, summary: Mapping[str, Any], cost: Cost) -> list[Rent]:
    """What each pool cost over the run of `summary`: its replicas for as long as they were rented,
    at the price they are bought for, and their hosts."""
    group: Ints = np.array([tenant.group for tenant in deployment.tenants])
    names = [one.name for one in deployment.scenario.tenants]
    found = []
    for pool, facts in zip(deployment.scenario.fleet, summary["simulation"]["fleet"], strict=True):
        gpu_s = facts["tensor_parallel"] * facts["replica_s"]
        usd_per_gpu_hour = rented_usd_per_gpu_hour(facts["usd_per_gpu_hour"], cost)
        owners = np.isin(group, [names.index(name) for name in pool.tenants])
        found.append(
            Rent(facts["name"], gpu_s * usd_per_gpu_hour / _SECONDS_AN_HOUR, gpu_s, owners)
        )
    return found


def months_of(summary: Mapping[str, Any]) -> float:
    """How many runs like this one a month is."""
    return MONTH_H * _SECONDS_AN_HOUR / float(summary["simulation"]["span_s"])
