"""What of a scenario a server leaves out."""

from __future__ import annotations

from simlora.live.limits import served_here, without_chance_or_foresight
from simlora.scenario.schema import Scenario
from simlora.scenario.versions import Rollout


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


def one_engine(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """The same as simlora's own engine can serve it to clients. Raises UserError for what nothing
    can be made of."""
    served, _ = one_replica(scenario)
    _, notes = served_here(scenario)
    groups = [
        group.model_copy(update={"rollout": _asked(group.rollout)}) for group in served.tenants
    ]
    if any(
        group.rollout is not None and group.rollout.mode == "shadow" for group in served.tenants
    ):
        notes.append("no copies are sent to versions on trial (rollout.mode shadow)")
    return served.model_copy(update={"tenants": groups}), notes


def _asked(rollout: Rollout | None) -> Rollout | None:
    """A rollout whose answers clients get as they asked for them."""
    if rollout is None or rollout.mode == "shadow":
        return None
    candidate = rollout.candidate.model_copy(update={"output_factor": 1.0})
    return rollout.model_copy(update={"candidate": candidate})
