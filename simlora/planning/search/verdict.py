"""Whether runs on several seeds show that promises are kept, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simlora.planning.search.promises import Promise
from simlora.planning.search.trial import Kept, Outcome


@dataclass(frozen=True, slots=True)
class Evidence:
    """What runs tell of one promise. `broken_share` is the mean over the runs of the share of
    requests that broke it, `upper` its one-sided upper confidence bound; `measured` the mean of the
    measured figure over the runs that have one, `worst` the worst of them."""

    promise: Promise
    broken_share: float
    upper: float
    requests: int
    measured: float | None
    worst: float | None

    @property
    def shown(self) -> bool:
        """Whether no more than the allowed share breaks the promise, with that confidence. A
        promise that allows nothing is as good as shown if nothing broke it."""
        if self.promise.allowed <= 0:
            return self.requests > 0 and self.broken_share == 0
        return self.upper <= self.promise.allowed


def evidence(
    promises: Sequence[Promise], outcomes: Sequence[Outcome], confidence: float
) -> tuple[Evidence, ...]:
    """What complete runs tell of each promise."""
    found = []
    for index, promise in enumerate(promises):
        kept = [outcome.kept[index] for outcome in outcomes]
        worst = min if promise.bound == "availability" else max
        known = [one.measured for one in kept if one.measured is not None]
        found.append(
            Evidence(
                promise,
                _mean([_share(one) for one in kept]),
                upper_bound(kept, confidence),
                sum(one.judged for one in kept),
                _mean(known) if known else None,
                worst(known) if known else None,
            )
        )
    return tuple(found)


def upper_bound(kept: Sequence[Kept], confidence: float) -> float:
    """The one-sided upper confidence bound of the mean share of requests that break a promise.

    The larger of two: Student's t over the runs' shares, which knows that the requests of a run
    hang together, and Clopper and Pearson's (1934, Biometrika 26, 404-413) over all requests, which
    knows that few requests, none of them broken, show little. With one run the second alone;
    without any request 1.
    """
    from scipy.special import betaincinv, stdtrit

    broken, judged = sum(one.broken for one in kept), sum(one.judged for one in kept)
    if not judged:
        return 1.0  # nothing is shown by nobody
    exact = 1.0
    if broken < judged:
        exact = float(betaincinv(broken + 1, judged - broken, confidence))
    runs = len(kept)
    if runs < 2:
        return exact
    shares = [_share(one) for one in kept]
    mean = _mean(shares)
    variance = math.fsum((share - mean) ** 2 for share in shares) / (runs - 1)
    margin = float(stdtrit(runs - 1, confidence)) * math.sqrt(variance / runs)
    return max(exact, mean + margin)


def slack(promises: Sequence[Promise], outcome: Outcome) -> float:
    """The largest share of its bound that any promise uses up in a complete run: 0.8 leaves a
    fifth. Of an availability the bound is on the share that fails."""
    used = [0.0]
    for promise, kept in zip(promises, outcome.kept, strict=True):
        if not kept.judged:
            continue
        if kept.measured is None:
            used.append(math.inf)
        elif promise.bound != "availability":
            used.append(kept.measured / promise.value)
        elif promise.allowed > 0:
            used.append((1 - kept.measured) / promise.allowed)
        else:
            used.append(0.0 if kept.measured >= promise.value else math.inf)
    return max(used)


def _share(kept: Kept) -> float:
    return kept.broken / kept.judged if kept.judged else 0.0


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
