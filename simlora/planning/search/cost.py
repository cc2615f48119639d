"""What a fleet costs."""

from __future__ import annotations

import math

from simlora.cost.prices import rented_usd_per_gpu_hour
from simlora.results.summary import MONTH_H
from simlora.scenario.catalog import load_gpu
from simlora.scenario.schema import Pool, Scenario


def fleet_usd_per_month(scenario: Scenario) -> float:
    """USD a month for the GPUs of all pools and their hosts, as the scenario's `cost` block says
    that they are bought, all replicas up for 720 hours. Raises UserError for a GPU that nobody
    knows."""
    return math.fsum(
        pool.replicas
        * pool.tensor_parallel
        * rented_usd_per_gpu_hour(_listed_usd(pool, scenario), scenario.cost)
        * MONTH_H
        for pool in scenario.fleet
    )


def _listed_usd(pool: Pool, scenario: Scenario) -> float:
    if pool.usd_per_gpu_hour is not None:
        return pool.usd_per_gpu_hour
    return load_gpu(pool.gpu, scenario.catalog).usd_per_hour
