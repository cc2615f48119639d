"""The cheapest fleet that meets every tier's promises on a scenario's traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from simlora.planning.search.branch import Found, Search
from simlora.planning.search.budget import Affordable, best_within
from simlora.planning.search.candidates import Candidate, Candidates, candidates
from simlora.planning.search.confirming import Refuted, confirmed_best
from simlora.planning.search.growth import Growth, grown
from simlora.planning.search.peak import Peak, peak_load
from simlora.planning.search.promises import Promise
from simlora.planning.search.space import Configuration, configurations
from simlora.planning.search.trial import Outcome
from simlora.planning.search.trials import Count, Tell, Trials
from simlora.planning.search.validity import check_policies
from simlora.planning.search.workers import Workers
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario


@dataclass(frozen=True, slots=True)
class Regrown:
    """The plan for a growth: the cheapest fleet then, or None if the space has none."""

    growth: Growth
    best: Found | None


@dataclass(slots=True)
class Plan:
    """What a search found. `best` is the cheapest fleet that meets every promise, `by_gpu` that of
    each kind of GPU, cheapest first; `front` are the fleets that no other one beats in cost and p99
    TTFT. All of them were found by the scenario's seed and `seeds`; the best was then confirmed by
    `fresh_seeds` (None: it was not, as the search was interrupted or the traffic is a trace), after
    the `refuted` ones were not. `closest`: without any, the run that came closest, of the
    most replicas. `affordable`: what the budget reaches, where the best is above it. `peak`: the
    load that the best holds. `searched` counts what the search took, `counted` all runs."""

    scenario: Scenario
    confidence: float
    space: int
    seeds: range
    promises: tuple[Promise, ...]
    candidates: Candidates
    max_cost_usd: float | None = None
    best: Found | None = None
    fresh_seeds: range | None = None
    refuted: tuple[Refuted, ...] = ()
    by_gpu: list[Found] = field(default_factory=list)
    front: list[Found] = field(default_factory=list)
    closest: tuple[str, Outcome] | None = None
    affordable: Affordable | None = None
    peak: Peak | None = None
    regrown: list[Regrown] = field(default_factory=list)
    monotone: bool = True
    interrupted: bool = False
    searched: Count = field(default_factory=Count)
    counted: Count = field(default_factory=Count)

    @property
    def within_budget(self) -> bool:
        """Whether there is a fleet that meets every promise for no more than the budget."""
        if self.best is None:
            return False
        return self.max_cost_usd is None or self.best.usd_per_month <= self.max_cost_usd + 0.005


def plan(
    scenario: Scenario,
    *,
    max_cost_usd: float | None = None,
    confidence: float | None = None,
    jobs: int = 1,
    what_if: Sequence[Growth] = (),
    headroom: bool = True,
    tell: Tell = lambda _: None,
) -> Plan:
    """Search the scenario's `plan` block for the cheapest fleet that meets every promise.

    The fleet is the same for any number of `jobs` (processes; a script that asks for several has to
    be guarded by `if __name__ == "__main__":`). It rests on two things: that with more replicas
    promises are kept no worse, which is checked around the answer, and that no run is faster than
    the bounds of `search.floor`. `headroom`: also find the load that the fleet holds. `tell` is
    given a line for each fleet tried. Ctrl-C ends it early with the best so far.

    Raises UserError for whatever is wrong with the scenario, or if its traffic is too short to show
    that its promises are kept.
    """
    confidence = scenario.plan.confidence if confidence is None else confidence
    space = configurations(scenario)
    count = Count()
    with Workers(jobs) as workers:

        def trials_of(asked: Scenario) -> Trials:
            return Trials(
                asked,
                workers,
                count,
                confidence=confidence,
                replications=scenario.plan.replications,
                tell=tell,
            )

        trials = trials_of(scenario)
        left = candidates(scenario, space, trials.promises)
        check_policies(left.left)
        found = Plan(
            scenario, confidence, len(space), trials.seeds, trials.promises, left, max_cost_usd
        )
        searches = [Search(trials)]
        try:
            confirmed = confirmed_best(trials, left.left, searches.append)
            found.best, found.fresh_seeds = confirmed.best, confirmed.seeds
            found.refuted = confirmed.refuted
            found.searched = Count(count.runs, count.requests)
            _look_around(found, trials)
            if headroom and found.best is not None:
                found.peak = peak_load(found.best.scenario, trials_of)
            for growth in what_if:
                found.regrown.append(
                    _regrow(found, space, growth, trials_of(grown(scenario, growth)))
                )
        except KeyboardInterrupt:
            found.interrupted = True
            found.best = found.best or searches[-1].best()
            if not found.searched.runs:
                found.searched = Count(count.runs, count.requests)
    found.by_gpu = sorted(
        searches[-1].by_gpu.values(), key=lambda one: (one.usd_per_month, one.candidate.index)
    )
    found.front = _front(list(searches[-1].found.values()))
    found.counted = count
    return found


def peak_of(
    scenario: Scenario,
    *,
    confidence: float | None = None,
    jobs: int = 1,
    tell: Tell = lambda _: None,
) -> Peak:
    """The highest load that the scenario's own fleet holds under every promise, as a multiple of
    the scenario's load, by the runs that a plan searches with.

    Raises UserError as `plan` does.
    """
    count = Count()
    with Workers(jobs) as workers:
        return peak_load(
            scenario,
            lambda loaded: Trials(
                loaded,
                workers,
                count,
                confidence=scenario.plan.confidence if confidence is None else confidence,
                replications=scenario.plan.replications,
                tell=tell,
            ),
        )


def _look_around(found: Plan, trials: Trials) -> None:
    """Check what the search took for granted, and what there is if it found nothing good enough."""
    best, left = found.best, found.candidates.left
    if best is None:
        found.closest = _closest(left, trials)
    elif best.replicas < found.scenario.plan.max_replicas:
        candidate, more = best.candidate, best.replicas + 1
        found.monotone = trials.screen(candidate.name(more), candidate.fleet(more)).ok
    if found.max_cost_usd is not None and not found.within_budget:
        tiers = expand(found.scenario).tier_names
        found.affordable = best_within(left, found.max_cost_usd, trials, tiers)


def _closest(left: Sequence[Candidate], trials: Trials) -> tuple[str, Outcome] | None:
    """The configuration that comes closest with as many replicas as are allowed."""
    if not left:
        return None
    tiers = expand(trials.scenario).tier_names
    affordable = best_within(left, math.inf, trials, tiers)
    return None if affordable is None else (affordable.name, affordable.outcome)


def _regrow(found: Plan, space: list[Configuration], growth: Growth, trials: Trials) -> Regrown:
    """Plan again for more, beginning with the configuration that was best before."""
    left = candidates(trials.scenario, space, trials.promises)
    warm = None
    if found.best is not None:
        before = found.best.candidate.index
        warm = next((one for one in left.left if one.index == before), None)
    confirmed = confirmed_best(trials, left.left, lambda _: None, by_kind=False, warm=warm)
    return Regrown(growth, confirmed.best)


def _front(fleets: list[Found]) -> list[Found]:
    """The fleets that none of the same cost or a lower one beats in p99 TTFT; cheapest first."""
    front: list[Found] = []
    for fleet in sorted(fleets, key=lambda one: (one.usd_per_month, one.ttft_p99_s, one.name)):
        if not front or fleet.ttft_p99_s < front[-1].ttft_p99_s:
            front.append(fleet)
    return front
