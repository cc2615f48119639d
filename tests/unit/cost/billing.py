"""Made-up use of made-up fleets, for the tests of bills."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlora.results.bill import Usage
from simlora.results.usage import QUANTITIES
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario

HOUR_S = 3600.0


def deployment(**fields: Any) -> Deployment:
    """One H100 with an 8B model for four tenants; `fields` replace top fields."""
    return expand(
        Scenario.model_validate(
            {
                "name": "billed",
                "model": "llama-3.1-8b",
                "fleet": [{"gpu": "h100-80gb"}],
                "tenants": [{"name": "tenant", "count": 4}],
                "workload": {"rate_rps": 1.0},
                "engine": {"max_model_len": 8192},
            }
            | fields
        )
    )


def an_hour_of(of: Deployment) -> dict[str, Any]:
    """What the summary of a run of an hour says of the fleet, all replicas rented throughout."""
    return {
        "name": of.scenario.name,
        "simulation": {
            "span_s": HOUR_S,
            "fleet": [
                {
                    "name": pool.name or str(index),
                    "tensor_parallel": pool.tensor_parallel,
                    "replica_s": pool.replicas * HOUR_S,
                    "usd_per_gpu_hour": gpu.usd_per_hour,
                }
                for index, (pool, gpu) in enumerate(zip(of.scenario.fleet, of.gpus, strict=True))
            ],
        },
    }


def usage(of: Deployment, **by_tenant: list[float]) -> Usage:
    """Use of a fleet of one pool; what is not given is 0."""
    tenants = len(of.tenants)
    return Usage(
        {
            name: np.array([by_tenant.get(name, [0.0] * tenants)], dtype=np.float64)
            for name in QUANTITIES
        }
    )
