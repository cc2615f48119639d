"""Which adapters are loaded before anybody asks for them, where, and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

from simlora.scenario.schema import Prefetch
from simlora.serving.loading import TO_DISK, TO_GPU, TO_HOST

# A rhythm is trusted after so many gaps, if they deviate from their mean by at most this share.
LEAST_GAPS = 3
MOST_DEVIATION = 0.5
SMOOTHING = 0.25  # weight of the newest gap


@dataclass(slots=True)
class Rhythm:
    """The gaps between an adapter's requests: smoothed mean and mean deviation, in seconds, as TCP
    keeps them of round-trip times (Jacobson, SIGCOMM 1988)."""

    last_s: float
    gaps: int = 0
    mean_s: float = 0.0
    deviation_s: float = 0.0

    def heard(self, now: float) -> None:
        """A request has arrived."""
        gap_s = now - self.last_s
        self.last_s = now
        if not self.gaps:
            self.mean_s = gap_s
        else:
            error_s = gap_s - self.mean_s
            self.mean_s += SMOOTHING * error_s
            self.deviation_s += SMOOTHING * (abs(error_s) - self.deviation_s)
        self.gaps += 1

    def next_s(self) -> float | None:
        """When the next request is expected at the earliest; None if there is no rhythm."""
        if self.gaps < LEAST_GAPS or self.deviation_s > MOST_DEVIATION * self.mean_s:
            return None
        return self.last_s + self.mean_s - self.deviation_s


class Prefetcher:
    """The loads ahead of one replica, in the order in which they are asked for, no faster than
    `rate_limit_per_s`.

    `due` gives those whose time has come; `next_s` is when to call it again (infinity: not until
    something is asked for).
    """

    def __init__(self, config: Prefetch) -> None:
        self._config = config
        self._interval_s = 0.0
        if config.rate_limit_per_s is not None:
            self._interval_s = 1 / config.rate_limit_per_s
        self._free_at_s = 0.0
        self._queue: deque[tuple[int, int]] = deque()  # adapter, goal
        self._queued: set[tuple[int, int]] = set()
        self._learns = config.cadence is not None
        self._lead_s = config.login_lead_s
        self._rhythms: dict[int, Rhythm] = {}
        self._expected: list[tuple[float, int, float]] = []  # when, adapter, last request known

    def start(self, ranking: Sequence[int]) -> None:
        """The replica begins. `ranking` are its adapters, the most asked for first."""
        config = self._config
        for adapter in ranking[: config.top_k]:
            self.ask(adapter, TO_GPU)
        if config.bulk or config.regional:
            for adapter in ranking:
                self.ask(adapter, TO_HOST if config.bulk else TO_DISK)

    def ask(self, adapter: int, goal: int) -> None:
        """Load an adapter as soon as the rate limit allows."""
        entry = (adapter, goal)
        if entry not in self._queued:
            self._queued.add(entry)
            self._queue.append(entry)

    def requested(self, adapter: int, now: float) -> None:
        """A request for the adapter has come to this replica: by its rhythm the next one is
        expected."""
        if not self._learns:
            return
        rhythm = self._rhythms.get(adapter)
        if rhythm is None:
            self._rhythms[adapter] = Rhythm(now)
            return
        rhythm.heard(now)
        next_s = rhythm.next_s()
        if next_s is not None and next_s - self._lead_s > now:
            heappush(self._expected, (next_s - self._lead_s, adapter, now))

    @property
    def next_s(self) -> float:
        expected_s = self._expected[0][0] if self._expected else inf
        return min(self._free_at_s if self._queue else inf, expected_s)

    def due(self, now: float, may_load: Callable[[int, int], bool]) -> list[tuple[int, int]]:
        """Adapters to load now, and how far up. Those of which `may_load` is not true are left out,
        and take nothing of the rate."""
        while self._expected and self._expected[0][0] <= now:
            _, adapter, last_s = heappop(self._expected)
            if self._rhythms[adapter].last_s == last_s:  # else it came earlier than expected
                self.ask(adapter, TO_GPU)
        taken = []
        while self._queue and self._free_at_s <= now:
            entry = self._queue.popleft()
            self._queued.remove(entry)
            if not may_load(*entry):
                continue
            taken.append(entry)
            self._free_at_s = max(self._free_at_s, now) + self._interval_s
        return taken
