"""A link that transfers share, on a clock that is kept in step with real time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simlora.serve.clock import PacedClock
from simlora.serving.loading import Transfer

_NO_BYTES = 1e-3  # what is left below it is rounding

Done = Callable[[int, Transfer, float], None]


class SharedLink:
    """Each transfer gets an equal part of `bytes_per_s` while it lasts; what comes before and after
    its bytes passes beside the others. `done` is told a transfer, its number and the time."""

    def __init__(self, clock: PacedClock, bytes_per_s: float, done: Done) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._done = done
        self._left: dict[int, tuple[Transfer, float]] = {}  # bytes, as of _settled_s
        self._settled_s = 0.0
        self._version = 0  # of the set of sharers; what was planned for an older one is void

    def start(self, number: int, transfer: Transfer, now: float) -> None:
        """Begin a transfer."""
        self._clock.at(now + transfer.latency_s, partial(self._join, number, transfer))

    def _join(self, number: int, transfer: Transfer, now: float) -> None:
        self._settle(now)
        self._left[number] = transfer, float(transfer.nbytes)
        self._plan(now)

    def _settle(self, now: float) -> None:
        if self._left:
            moved = (now - self._settled_s) * self._bytes_per_s / len(self._left)
            self._left = {n: (transfer, left - moved) for n, (transfer, left) in self._left.items()}
        self._settled_s = now

    def _plan(self, now: float) -> None:
        self._version += 1
        if self._left:
            least = max(0.0, min(left for _, left in self._left.values()))
            due_s = now + least * len(self._left) / self._bytes_per_s
            self._clock.at(due_s, partial(self._first_ends, self._version))

    def _first_ends(self, version: int, now: float) -> None:
        if version != self._version:
            return
        self._settle(now)
        least = max(_NO_BYTES, min(left for _, left in self._left.values()))
        for number, (transfer, left) in list(self._left.items()):
            if left <= least:
                del self._left[number]
                due_s = now + transfer.finish_s
                self._clock.at(due_s, partial(self._done, number, transfer))
        self._plan(now)
