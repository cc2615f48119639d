"""Runs of fleets on several seeds, each made once and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simlora.errors import UserError
from simlora.planning.search.enough import MOST_REPLICATIONS, Traffic
from simlora.planning.search.promises import Promise, promises_of
from simlora.planning.search.trial import Outcome, most_broken, run_trial
from simlora.planning.search.verdict import Evidence, evidence
from simlora.planning.search.workers import Workers
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario

Tell = Callable[[str], None]


@dataclass(slots=True)
class Count:
    """Runs begun and requests simulated so far, those of runs that were ended early included."""

    runs: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What runs on several seeds say of a fleet. `shown`: every run kept every promise, and
    together they show it with the confidence asked for. `evidence` is empty if a run was broken."""

    outcomes: tuple[Outcome, ...]
    evidence: tuple[Evidence, ...]

    @property
    def shown(self) -> bool:
        return bool(self.evidence) and all(one.shown for one in self.evidence)


class Trials:
    """Tries fleets on the traffic of one scenario: all serve the same requests on the same seed.

    A fleet is screened on the scenario's own seed, and tried again on `seeds`. Which fleet is
    chosen hangs on both, so it is then confirmed on fresh ones. A trace is the same whatever the
    seed: there is but one run, whose requests are taken to be independent.

    Raises UserError if no tier promises anything, or if the traffic has too few requests of a tier
    to show that its promises are kept.
    """

    def __init__(
        self,
        scenario: Scenario,
        workers: Workers,
        count: Count,
        *,
        confidence: float,
        replications: int,
        tell: Tell,
    ) -> None:
        self.scenario = scenario
        self.confidence = confidence
        self.promises: tuple[Promise, ...] = promises_of(expand(scenario))
        self._workers = workers
        self._count = count
        self._tell = tell
        self._traffic = Traffic(scenario)
        self._replications = replications
        self._screened: dict[str, Outcome] = {}
        self._confirmed: dict[str, Confirmation] = {}
        self.seeds = self._seeds(replications)

    def _seeds(self, replications: int) -> range:
        """As many as were asked for, or as it takes to have enough requests of every tier."""
        seed = self.scenario.seed
        if self.is_trace:
            self._traffic.check_trace(self.promises, self.confidence)
            return range(seed, seed + 1)
        return self._traffic.seeds(self.promises, self.confidence, seed + 1, replications)

    @property
    def is_trace(self) -> bool:
        """Whether the traffic is the same whatever the seed."""
        return self.scenario.workload.trace is not None

    def fresh_seeds(self, first: int) -> range:
        """As many seeds from `first` on as it takes to confirm a fleet again."""
        return self._traffic.seeds(
            self.promises, self.confidence, first, self._replications, 2 * MOST_REPLICATIONS
        )

    def screen(self, name: str, scenario: Scenario) -> Outcome:
        """The run of a fleet on the scenario's own seed, ended when a promise is broken. `name`
        tells fleets apart."""
        if name not in self._screened:
            (self._screened[name],) = self._run([(scenario, self.scenario.seed)], stopped=True)
            self._tell(f"{name}: {self.words(self._screened[name])}")
        return self._screened[name]

    def confirm(self, name: str, scenario: Scenario) -> Confirmation:
        """The runs of a fleet on the further seeds."""
        if name not in self._confirmed:
            if self.is_trace:
                outcomes = [self.screen(name, scenario)]
            else:
                outcomes = self._run([(scenario, seed) for seed in self.seeds], stopped=True)
            self._confirmed[name] = self._judged(name, outcomes, "meets every promise again")
        return self._confirmed[name]

    def confirm_afresh(self, name: str, scenario: Scenario, seeds: range) -> Confirmation:
        """The runs of a fleet on seeds of its own."""
        outcomes = self._run([(scenario, seed) for seed in seeds], stopped=True)
        return self._judged(name, outcomes, "confirmed")

    def _judged(self, name: str, outcomes: list[Outcome], well: str) -> Confirmation:
        shown: tuple[Evidence, ...] = ()
        if all(outcome.ok for outcome in outcomes):
            shown = evidence(self.promises, outcomes, self.confidence)
        found = Confirmation(tuple(outcomes), shown)
        self._tell(f"{name}: {well if found.shown else self.missed(found)}")
        return found

    def missed(self, confirmation: Confirmation) -> str:
        """Why runs do not confirm a fleet, in a few words."""
        broken = [outcome for outcome in confirmation.outcomes if not outcome.ok]
        return self.words(broken[0]) if broken else "not shown with enough confidence"

    def passes(self, name: str, scenario: Scenario) -> bool:
        """Whether a fleet meets every promise: on the own seed, and shown on the further ones."""
        return self.screen(name, scenario).ok and self.confirm(name, scenario).shown

    def whole(self, scenario: Scenario, seed: int) -> Outcome:
        """The run of a fleet to its end, whatever it breaks."""
        (outcome,) = self._run([(scenario, seed)], stopped=False)
        return outcome

    def breaking_seed(self, name: str) -> int | None:
        """The first seed with which a fleet that was tried missed a promise; None if with none."""
        screened, confirmed = self._screened.get(name), self._confirmed.get(name)
        outcomes = [screened] if screened is not None else []
        outcomes += confirmed.outcomes if confirmed is not None else ()
        return next((outcome.seed for outcome in outcomes if not outcome.ok), None)

    def whole_each(self, scenarios: list[Scenario]) -> list[Outcome]:
        """The runs of several fleets on the own seed to their ends."""
        seed = self.scenario.seed
        return self._run([(scenario, seed) for scenario in scenarios], stopped=False)

    def words(self, outcome: Outcome) -> str:
        """What a run says, in a few words."""
        if outcome.ok:
            return f"meets every promise with seed {outcome.seed}"
        missed = [
            promise.name
            for promise, kept in zip(self.promises, outcome.kept, strict=False)
            if not kept.met
        ]
        if outcome.broken is not None:
            missed = [self.promises[outcome.broken].name]
        return f"misses {', '.join(missed)} with seed {outcome.seed}"

    def _run(self, runs: list[tuple[Scenario, int]], *, stopped: bool) -> list[Outcome]:
        calls = [
            (
                scenario,
                seed,
                self.promises,
                most_broken(self.promises, self._traffic.by_tier(seed)) if stopped else None,
            )
            for scenario, seed in runs
        ]
        outcomes = self._workers.run(run_trial, calls)
        for outcome in outcomes:
            self._count.runs += 1
            self._count.requests += outcome.requests
            if outcome.mistake:
                raise UserError(outcome.mistake)
            if outcome.interrupted:
                raise KeyboardInterrupt
        return outcomes
