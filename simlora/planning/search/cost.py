"""What a fleet costs."""

from __future__ import annotations

import math

from simlora.scenario.catalog import load_gpu
from simlora.scenario.schema import Scenario

MONTH_H = 720.0  # hours that a price of a month is for


def fleet_usd_per_month(scenario: Scenario) -> float:
    """USD a month for the GPUs of all pools at their own or the catalog's price, all replicas up
    for 720 hours. Raises UserError for a GPU that nobody knows."""
    return math.fsum(
        pool.replicas
        * pool.tensor_parallel
        * (
            load_gpu(pool.gpu, scenario.catalog).usd_per_hour
            if pool.usd_per_gpu_hour is None
            else pool.usd_per_gpu_hour
        )
        * MONTH_H
        for pool in scenario.fleet
    )
