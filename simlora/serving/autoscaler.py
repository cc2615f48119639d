"""How many replicas of a pool there should be."""

from __future__ import annotations

from collections import deque
from math import ceil

from simlora.scenario.autoscale import Autoscale


class Autoscaler:
    """Follows the demand up at once, and down only when it has stayed there, as the horizontal pod
    autoscaler of Kubernetes does (its stabilization window).

    Times are seconds and never go back. The replicas that the pool begins with count as wanted at
    0 s.
    """

    def __init__(self, config: Autoscale, most: int) -> None:
        self._config = config
        self._most = most
        initial = config.min if config.initial is None else config.initial
        # Wants, falling, each with its time.
        self._lately: deque[tuple[float, int]] = deque([(0.0, initial)])

    def wanted(self, unfinished: int, now: float) -> int:
        """The replicas to have now, with so many unfinished requests in the pool or before it."""
        config = self._config
        want = ceil(unfinished / config.target_requests)
        want = min(max(want, config.min), self._most)
        lately = self._lately
        while lately and lately[-1][1] <= want:
            lately.pop()
        lately.append((now, want))
        while lately[0][0] < now - config.down_after_s:
            lately.popleft()
        return lately[0][1]
