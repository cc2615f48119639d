"""A bound on hot adapters that follows the load."""

from __future__ import annotations

from collections import Counter, deque

from simlora.scenario.schema import AdaptiveSize


class HotSize:
    """Counts the distinct adapters asked for in a sliding window of time."""

    def __init__(self, config: AdaptiveSize) -> None:
        self._config = config
        self._asked: deque[tuple[float, int]] = deque()  # time, adapter
        self._counts: Counter[int] = Counter()

    def asked(self, adapter: int, now: float) -> None:
        """A request for the adapter has arrived."""
        self._forget(now)
        self._asked.append((now, adapter))
        self._counts[adapter] += 1

    def limit(self, now: float) -> int:
        """How many adapters may be hot at `now`."""
        self._forget(now)
        config = self._config
        return min(max(len(self._counts), config.min_adapters), config.max_adapters)

    def _forget(self, now: float) -> None:
        asked, counts = self._asked, self._counts
        while asked and asked[0][0] <= now - self._config.window_s:
            _, adapter = asked.popleft()
            counts[adapter] -= 1
            if not counts[adapter]:
                del counts[adapter]
