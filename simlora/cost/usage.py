"""What a run says of who used how much, and of what was rented for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simlora.cost.prices import rented_usd_per_gpu_hour
from simlora.errors import UserError
from simlora.results.bill import SECONDS_AN_HOUR, Rent, Usage, rent_of
from simlora.results.files import TENANTS
from simlora.results.result import Result
from simlora.results.summary import MONTH_H
from simlora.results.usage import BY_POOL, QUANTITIES
from simlora.scenario.cost import Cost
from simlora.scenario.deployment import Deployment


class NotTakenDown(UserError):
    """The run is of a version that did not take down what bills are made of."""


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
    return [
        rent_of(
            deployment,
            index,
            pool["name"],
            pool["tensor_parallel"] * pool["replica_s"],
            rented_usd_per_gpu_hour(pool["usd_per_gpu_hour"], cost),
        )
        for index, pool in enumerate(summary["simulation"]["fleet"])
    ]


def months_of(summary: Mapping[str, Any]) -> float:
    """How many runs like this one a month is."""
    return MONTH_H * SECONDS_AN_HOUR / float(summary["simulation"]["span_s"])
