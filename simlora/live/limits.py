"""What a live run cannot do, and what it leaves out."""

from __future__ import annotations

from simlora.errors import UserError
from simlora.scenario.adapters import Adapters, Prefetch
from simlora.scenario.schema import Scenario


def served_here(scenario: Scenario) -> tuple[Scenario, list[str]]:
    """The scenario as one engine can serve it, and a sentence about each thing left out.

    Raises UserError for what nothing can be made of.
    """
    engine, first = scenario.engine, scenario.fleet[0]
    if engine.scheduler.merged is not None:
        raise UserError(
            "engine.scheduler.merged: the engine merges no adapter into its weights; leave it out"
        )
    if first.tensor_parallel > 1:
        raise UserError(
            f"fleet.0.tensor_parallel: is {first.tensor_parallel}, but the embedded engine runs on "
            "one device; allowed is 1"
        )
    adapters, notes = without_chance_or_foresight(scenario)
    weights = (first.model or scenario.model).weights
    if weights != "bf16":
        notes.append(f"weights are not quantized to {weights}")
    pool = first.model_copy(update={"replicas": 1, "autoscale": None})
    changed = {"fleet": [pool], "events": [], "adapters": adapters}
    return scenario.model_copy(update=changed), notes


def without_chance_or_foresight(scenario: Scenario) -> tuple[Adapters, list[str]]:
    """The `adapters` of a scenario as one replica in real time can have them, and a sentence about
    each thing of the scenario left out. Raises UserError for a policy that knows the future."""
    adapters, first = scenario.adapters, scenario.fleet[0]
    for name, tier in (("hot", adapters.hot), ("warm", adapters.warm), ("nvme", adapters.nvme)):
        if tier.eviction.partition("+")[0] == "belady":
            raise UserError(
                f"adapters.{name}.eviction: belady knows the future, which a server does not; "
                "choose another policy"
            )
    notes = []
    if len(scenario.fleet) > 1 or first.replicas > 1 or first.autoscale is not None:
        notes.append("of the fleet one replica of its first pool is run, all the time")
    if scenario.events:
        notes.append("events do not happen")
    if adapters.prefetch.ahead:
        notes.append("nothing is loaded ahead of requests (adapters.prefetch)")
    if adapters.loading.failure_rate:
        notes.append("no transfers fail by adapters.loading.failure_rate")
    loading = adapters.loading.model_copy(update={"failure_rate": 0.0})
    return adapters.model_copy(update={"prefetch": Prefetch(), "loading": loading}), notes
