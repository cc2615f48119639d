"""Canary analysis: is a new version slower than the old one beside it?"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from simlora.scenario.versions import Rollback

_LOOKS = 10  # at both versions in the time of a window

_Entry = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a candidate was given up: the percentile of `metric` (`ttft_s`, `tpot_s` or
    `e2e_s`) of either version over the window before `at_s`, seconds, and the number of requests
    behind each. The
    candidate's is infinite if more of its requests failed than the percentile lets pass."""

    at_s: float
    metric: str
    percentile: int
    stable_s: float
    candidate_s: float
    stable_requests: int
    candidate_requests: int


class Comparison:
    """The latencies of both versions over a sliding window.

    The versions are held against each other over the same time, not against a bound or the time
    before the rollout, so that a load that hits both alike blames neither (Davidovič, Beyer,
    Canary Analysis Service, ACM Queue 16(1), 2018). They are compared ten times a window and not
    after each request: a percentile of few values strays, and who looks all the time finds some
    instant at which it has strayed too far.
    """

    def __init__(self, config: Rollback) -> None:
        self._config = config
        # Time of the end, TTFT, TPOT and E2E of each request: the stable version's, the other's.
        self._windows: tuple[deque[_Entry], ...] = (deque(), deque())
        self._looked_s = -inf

    def add(self, candidate: bool, now: float, ttft_s: float, tpot_s: float, e2e_s: float) -> None:
        """A request has ended: infinite if it failed, a negative TPOT if it had none."""
        self._windows[candidate].append((now, ttft_s, tpot_s, e2e_s))

    def verdict(self, now: float) -> Verdict | None:
        """The first metric whose percentile is too much worse than the stable version's, if it is
        time to look; None if there is none, or too few requests."""
        config = self._config
        if now - self._looked_s < config.window_s / _LOOKS:
            return None
        self._looked_s = now
        for window in self._windows:
            while window and window[0][0] <= now - config.window_s:
                window.popleft()
        for place, metric, ratio in (
            (1, "ttft_s", config.ttft_ratio),
            (2, "tpot_s", config.tpot_ratio),
            (3, "e2e_s", config.e2e_ratio),
        ):
            if ratio is None:
                continue
            stable, candidate = (
                [entry[place] for entry in window if entry[place] >= 0] for window in self._windows
            )
            if min(len(stable), len(candidate)) < config.min_requests:
                continue
            stable_s, candidate_s = (
                percentile(values, config.percentile) for values in (stable, candidate)
            )
            if candidate_s > ratio * stable_s:
                return Verdict(
                    now,
                    metric,
                    config.percentile,
                    stable_s,
                    candidate_s,
                    len(stable),
                    len(candidate),
                )
        return None


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of the values do not exceed.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 50)
    2.0
    """
    return sorted(values)[max(ceil(percent * len(values) / 100) - 1, 0)]
