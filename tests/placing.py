"""Fleets of several models and regions for the tests, of small models that differ in shape."""

from __future__ import annotations

from typing import Any

from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.placement import Placement
from simlora.workload.demand import tenant_demand

Entries = list[dict[str, Any]]  # of a fleet, or of tenant groups

MODELS = ("tiny-llama", "wide")  # `wide` has twice the KV heads


def mixed_scenario(fleet: Entries, tenants: Entries, **changes: Any) -> Scenario:
    """Pools on one kind of GPU unless they say otherwise; `changes` replace top fields."""
    return Scenario.model_validate(
        {
            "name": "mixed",
            "model": "tiny-llama",
            "fleet": [{"gpu": "a10g"} | pool for pool in fleet],
            "tenants": tenants,
            "workload": {"rate_rps": 1.0},
            "engine": {"max_model_len": 1024},
            "catalog": {"models": {"wide": {"base": "tiny-llama", "num_key_value_heads": 4}}},
        }
        | changes
    )


def placement_of(scenario: Scenario) -> tuple[Deployment, Placement]:
    """The placement by the demand that the scenario's own traffic is expected to bring."""
    deployment = expand(scenario)
    return deployment, Placement(deployment, tenant_demand(deployment))
