"""How many seeds it takes before there are enough requests to show anything."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.errors import UserError
from simlora.planning.search.promises import Promise, least_requests, requests_by_tier
from simlora.planning.seeds import replicated
from simlora.scenario.schema import Scenario

MOST_REPLICATIONS = 20  # that few requests are made up for by
_ANSWERS = 1  # tokens from which on a request is one; with two it has a time per output token


class Traffic:
    """Counts the requests that a scenario's traffic has with each seed."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._known: dict[tuple[int, int], tuple[int, ...]] = {}

    def by_tier(self, seed: int, least_tokens: int = _ANSWERS) -> tuple[int, ...]:
        """Requests of each tier with that seed."""
        key = seed, least_tokens
        if key not in self._known:
            self._known[key] = requests_by_tier(self.scenario, *key)
        return self._known[key]

    def judged(self, promise: Promise, seed: int) -> int:
        """The requests that a promise is about."""
        decoded = promise.bound == "tpot_p99_s"
        return self.by_tier(seed, _ANSWERS + decoded)[promise.tier]

    def seeds(
        self,
        promises: Sequence[Promise],
        confidence: float,
        first: int,
        replications: int,
        most: int = MOST_REPLICATIONS,
    ) -> range:
        """The seeds from `first` on that have, added up, enough requests for every promise: as many
        as asked for, or more where it takes them.

        Raises UserError if `most` are still too few.
        """
        most = max(most, replications)
        needed = replications
        for promise in promises:
            least, have, runs = least_requests(promise, confidence), 0, 0
            while have < least and runs < most:
                replicated(first, runs + 1)
                have += self.judged(promise, first + runs)
                runs += 1
            if have < least:
                raise UserError(self._too_few(promise, confidence, have, least, runs))
            needed = max(needed, runs)
        return replicated(first, needed)

    def check_trace(self, promises: Sequence[Promise], confidence: float) -> None:
        """Raises UserError if the one run that a trace is has too few requests."""
        for promise in promises:
            least = least_requests(promise, confidence)
            have = self.judged(promise, self.scenario.seed)
            if have < least:
                raise UserError(
                    f"workload.trace: holds {have:,} requests of tier {promise.tier_name}"
                    f"{_decoded(promise)}, but to show its {_figure(promise)} with confidence "
                    f"{confidence:g} takes at least {least:,}; use a longer trace or a lower "
                    "--confidence"
                )

    def _too_few(
        self, promise: Promise, confidence: float, have: int, least: int, runs: int
    ) -> str:
        mend = "raise workload.duration_s or plan.replications, or lower --confidence"
        if not have:
            mend = "raise workload.duration_s or its tenants' rates, or leave out its sla"
        return (
            f"workload: {have:,} requests of tier {promise.tier_name}{_decoded(promise)} in {runs} "
            f"runs are too few to show its {_figure(promise)} with confidence {confidence:g}, which"
            f" takes {least:,} over all runs; {mend}"
        )


def _figure(promise: Promise) -> str:
    return promise.name.partition(" of ")[0]


def _decoded(promise: Promise) -> str:
    return " with more than one output token" if promise.bound == "tpot_p99_s" else ""
