"""The best that a budget buys when it buys no fleet that meets every promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simlora.planning.search.candidates import Candidate
from simlora.planning.search.trial import Outcome
from simlora.planning.search.trials import Trials
from simlora.scenario.schema import BurstArrivals, Scenario

_SHORT = 0.25  # of the run: enough to tell the hopeless
_SURVIVORS = 4


@dataclass(frozen=True, slots=True)
class Affordable:
    """A fleet within the budget and what it reaches on the scenario's own seed: by tier, the share
    of requests within every bound (None: no promise)."""

    candidate: Candidate
    replicas: int
    usd_per_month: float
    outcome: Outcome
    attainment: dict[str, float]

    @property
    def name(self) -> str:
        """Replicas and configuration."""
        return self.candidate.name(self.replicas)


def best_within(
    candidates: Sequence[Candidate], budget_usd: float, trials: Trials, tiers: Sequence[str]
) -> Affordable | None:
    """Of the largest affordable fleet of each configuration, that whose worst tier keeps the most
    of its requests within every bound; None if nothing is affordable.

    By successive halving: all on a quarter of the run, then the best few on all of it.
    """
    fleets = []
    for candidate in candidates:
        replicas = candidate.most_replicas(budget_usd, below=False)
        if replicas:
            fleets.append((candidate, replicas))
    if len(fleets) > _SURVIVORS and _can_be_shortened(trials.scenario):
        short = [_shortened(candidate.fleet(replicas)) for candidate, replicas in fleets]
        outcomes = trials.whole_each(short)
        ranked = sorted(range(len(fleets)), key=lambda i: (-_worst(outcomes[i]), i))
        fleets = [fleets[i] for i in sorted(ranked[:_SURVIVORS])]
    outcomes = trials.whole_each([candidate.fleet(replicas) for candidate, replicas in fleets])
    if not fleets:
        return None
    place = max(range(len(fleets)), key=lambda i: (_worst(outcomes[i]), -i))
    candidate, replicas = fleets[place]
    found = outcomes[place]
    return Affordable(
        candidate,
        replicas,
        candidate.usd_per_month(replicas),
        found,
        {
            name: share
            for name, share in zip(tiers, found.attainment, strict=True)
            if share is not None
        },
    )


def _worst(outcome: Outcome) -> float:
    return min((share for share in outcome.attainment if share is not None), default=0.0)


def _can_be_shortened(scenario: Scenario) -> bool:
    """Whether the run has a length, and nothing is to happen at a time of its own."""
    workload = scenario.workload
    timed = bool(scenario.events) or isinstance(workload.arrivals, BurstArrivals)
    return workload.duration_s is not None and not timed


def _shortened(scenario: Scenario) -> Scenario:
    duration_s = scenario.workload.duration_s
    assert duration_s is not None
    warmup_s = scenario.run.warmup_s
    shorter = warmup_s + (duration_s - warmup_s) * _SHORT
    workload = scenario.workload.model_copy(update={"duration_s": shorter})
    return scenario.model_copy(update={"workload": workload})
