"""Branch and bound over configurations: the cheapest fleet that meets every promise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from simlora.planning.search.candidates import Candidate
from simlora.planning.search.fewest import fewest, fewest_below
from simlora.planning.search.trial import Outcome
from simlora.planning.search.trials import Confirmation, Trials
from simlora.planning.search.verdict import slack
from simlora.scenario.schema import Scenario


@dataclass(frozen=True, slots=True)
class Found:
    """A fleet that meets every promise. `used` is the largest share of a bound that it uses up on
    the scenario's own seed."""

    candidate: Candidate
    replicas: int
    usd_per_month: float
    screened: Outcome
    confirmation: Confirmation
    used: float

    @property
    def name(self) -> str:
        """Replicas and configuration."""
        return self.candidate.name(self.replicas)

    @property
    def ttft_p99_s(self) -> float:
        """p99 TTFT over all tiers, the mean over the runs of its confirmation."""
        outcomes = self.confirmation.outcomes
        figures = [one.ttft_p99_s for one in outcomes if one.ttft_p99_s is not None]
        return math.fsum(figures) / len(figures) if figures else math.inf

    @property
    def scenario(self) -> Scenario:
        """The scenario on this fleet."""
        return self.candidate.fleet(self.replicas)


@dataclass(slots=True)
class Search:
    """Finds the cheapest fleet of each kind of GPU, or (`by_kind` off) of all together, which takes
    fewer runs. `refuted` are fleets, by name, that are known to miss a promise. `found` are all
    fleets so far that meet every promise; what it holds is valid whenever the search is
    interrupted."""

    trials: Trials
    by_kind: bool = True
    refuted: frozenset[str] = frozenset()
    found: dict[str, Found] = field(default_factory=dict)
    by_gpu: dict[str, Found] = field(default_factory=dict)  # one entry if not by kind

    def cheapest(self, candidates: Iterable[Candidate], first: Candidate | None = None) -> None:
        """Fill `by_gpu`. `first`: a configuration to begin with, as its price is likely near the
        best."""
        kinds: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            kinds.setdefault(self._kind(candidate), []).append(candidate)
        for members in kinds.values():
            members.sort(key=lambda one: (one != first, one.least_usd, one.index))
        for members in sorted(kinds.values(), key=lambda of_kind: _rank(of_kind[0], first)):
            for candidate in members:
                self._branch(candidate)

    def _branch(self, candidate: Candidate) -> None:
        """Look for a fleet of this configuration that is cheaper than the best of its kind."""
        kind, low = self._kind(candidate), candidate.floor.replicas
        best, high = self.by_gpu.get(kind), candidate.scenario.plan.max_replicas
        if best is not None:
            high = candidate.most_replicas(best.usd_per_month, below=True)
        if low > high:
            return
        look = fewest if best is None else fewest_below
        # One seed rules most fleets out, so the further ones wait until it does no more.
        replicas = look(lambda number: self._screens(candidate, number), low, high)
        if replicas is not None:
            replicas = fewest(lambda number: self._passes(candidate, number), replicas, high)
        if replicas is not None:
            self.by_gpu[kind] = self._fleet(candidate, replicas)

    def best(self) -> Found | None:
        """The cheapest of all kinds so far; of equal ones that with the most slack, then the first
        of the space."""
        return min(
            self.by_gpu.values(),
            key=lambda one: (round(one.usd_per_month, 2), one.used, one.candidate.index),
            default=None,
        )

    def roomiest(self, candidates: Sequence[Candidate]) -> Found | None:
        """Of all fleets that cost what the best does and meet every promise, that which uses the
        least of its bounds on the scenario's own seed."""
        best = self.best()
        if best is None:
            return None
        rivals = []
        for candidate in candidates:
            replicas = candidate.most_replicas(best.usd_per_month, below=False)
            same = replicas and abs(candidate.usd_per_month(replicas) - best.usd_per_month) < 0.01
            if same and replicas >= candidate.floor.replicas and self._screens(candidate, replicas):
                outcome = self.trials.screen(candidate.name(replicas), candidate.fleet(replicas))
                used = slack(self.trials.promises, outcome)
                rivals.append((used, candidate.index, candidate, replicas))
        for _, _, candidate, replicas in sorted(rivals, key=lambda rival: rival[:2]):
            if self._passes(candidate, replicas):
                found = self._fleet(candidate, replicas)
                self.by_gpu[self._kind(candidate)] = found
                return found
        return best

    def _kind(self, candidate: Candidate) -> str:
        return candidate.configuration.gpu if self.by_kind else ""

    def _screens(self, candidate: Candidate, replicas: int) -> bool:
        return self.trials.screen(candidate.name(replicas), candidate.fleet(replicas)).ok

    def _passes(self, candidate: Candidate, replicas: int) -> bool:
        name = candidate.name(replicas)
        if name in self.refuted or not self.trials.passes(name, candidate.fleet(replicas)):
            return False
        self.found[name] = self._fleet(candidate, replicas)
        return True

    def _fleet(self, candidate: Candidate, replicas: int) -> Found:
        name, fleet = candidate.name(replicas), candidate.fleet(replicas)
        screened = self.trials.screen(name, fleet)
        return Found(
            candidate,
            replicas,
            candidate.usd_per_month(replicas),
            screened,
            self.trials.confirm(name, fleet),
            slack(self.trials.promises, screened),
        )


def _rank(candidate: Candidate, first: Candidate | None) -> tuple[bool, float, int]:
    return candidate != first, candidate.least_usd, candidate.index
