"""What a scenario had happen to its run, for the summary: scripted events and bursts."""

from __future__ import annotations

from typing import Any

from simlora.scenario.schema import Scenario
from simlora.scenario.traffic import BurstArrivals


def script(scenario: Scenario) -> dict[str, list[dict[str, Any]]]:
    """`events` and `bursts` as the scenario has them, each only where there are any; `tenants` is
    how many tenants send a burst."""
    arrivals = scenario.workload.arrivals
    sizes = {group.name: group.count for group in scenario.tenants}
    told = {
        "events": [event.model_dump(mode="json") for event in scenario.events],
        "bursts": [
            {**burst.model_dump(mode="json"), "tenants": sizes.get(burst.tenant, 1)}
            for burst in arrivals.bursts
        ]
        if isinstance(arrivals, BurstArrivals)
        else [],
    }
    return {name: entries for name, entries in told.items() if entries}
