"""What of a scenario a server with simulated timing leaves out."""

from __future__ import annotations

from simlora.errors import UserError
from simlora.scenario.adapters import Prefetch
from simlora.scenario.schema import Scenario


def one_replica(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """The scenario with one replica of its first pool, and a sentence about each thing left out.

    Raises UserError for what nothing can be made of.
    """
    adapters, first = scenario.adapters, scenario.fleet[0]
    for name, tier in (("hot", adapters.hot), ("warm", adapters.warm), ("nvme", adapters.nvme)):
        if tier.eviction.partition("+")[0] == "belady":
            raise UserError(
                f"adapters.{name}.eviction: belady knows the future, which a server does not; "
                "choose another policy"
            )
    notes = []
    if len(scenario.fleet) > 1 or first.replicas > 1 or first.autoscale is not None:
        notes.append("of the fleet one replica of its first pool is served, all the time")
    if scenario.events:
        notes.append("events do not happen")
    if adapters.prefetch.ahead:
        notes.append("nothing is loaded ahead of requests (adapters.prefetch)")
    if adapters.loading.failure_rate:
        notes.append("no transfers fail by adapters.loading.failure_rate")
    loading = adapters.loading.model_copy(update={"failure_rate": 0.0})
    changed = {
        # The other pools stay, for tenants may be theirs alone: they are unavailable.
        "fleet": [
            pool.model_copy(update={"replicas": 1, "autoscale": None}) for pool in scenario.fleet
        ],
        "gateway": scenario.gateway.model_copy(update={"placement": "shared"}),
        "events": [],
        "adapters": adapters.model_copy(update={"prefetch": Prefetch(), "loading": loading}),
    }
    return scenario.model_copy(update=changed), notes
