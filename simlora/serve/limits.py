"""What of a scenario a server with simulated timing leaves out."""

from __future__ import annotations

from simlora.live.limits import without_chance_or_foresight
from simlora.scenario.schema import Scenario


def one_replica(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """The scenario with one replica of its first pool, and a sentence about each thing left out.

    Raises UserError for what nothing can be made of.
    """
    adapters, notes = without_chance_or_foresight(scenario)
    changed = {
        # The other pools stay, for tenants may be theirs alone: they are unavailable.
        "fleet": [
            pool.model_copy(update={"replicas": 1, "autoscale": None}) for pool in scenario.fleet
        ],
        "gateway": scenario.gateway.model_copy(update={"placement": "shared"}),
        "events": [],
        "adapters": adapters,
    }
    return scenario.model_copy(update=changed), notes
