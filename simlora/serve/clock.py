"""Events in order of time, each told the time for which it was meant, as real time passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count

Then = Callable[[float], None]
# A clock that is later than this does not run after real time any more: it is set back.
MOST_LATE_S = 0.5


class PacedClock:
    """Seconds since the start. Whoever wakes up late is told when it should have been, so that
    lateness never adds up: what follows is due by that time, not by the late one."""

    def __init__(self, read: Callable[[], float] = time.perf_counter) -> None:
        """`read` is a monotonic clock, in seconds."""
        self.lost_s = 0.0  # by which the clock was set back in all
        self._read = read
        self._zero_s = read()
        self._due: list[tuple[float, int, Then]] = []
        self._numbers = count()
        self._earlier = asyncio.Event()  # something is due before what is waited for
        self._awaited_s = 0.0
        self._stopped = False

    def at(self, due_s: float, then: Then) -> None:
        """Call `then` at `due_s`."""
        heappush(self._due, (due_s, next(self._numbers), then))
        if due_s < self._awaited_s:
            self._earlier.set()

    def real_s(self, due_s: float) -> float:
        """What the monotonic clock reads at a time of this one."""
        return due_s + self._zero_s

    def catch_up(self) -> float:
        """Call everything that is due by now, in order. Returns the time: nothing before it is left
        to do, so something new may be told with it."""
        now = self._read() - self._zero_s
        due = self._due
        if due and (late_s := now - due[0][0]) > MOST_LATE_S:
            self._zero_s += late_s
            self.lost_s += late_s
            now -= late_s
        while due and due[0][0] <= now:
            at_s, _, then = heappop(due)
            then(at_s)
        return now

    def stop(self) -> None:
        """Have `run` return."""
        self._stopped = True
        self._earlier.set()

    async def run(self) -> None:
        """Call what becomes due, until `stop` is called."""
        self._earlier = asyncio.Event()  # one of this event loop
        while not self._stopped:
            self._earlier.clear()
            now = self.catch_up()
            self._awaited_s = self._due[0][0] if self._due else float("inf")
            wait_s = self._awaited_s - now if self._due else None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._earlier.wait(), wait_s)
            self._awaited_s = 0.0
        self._stopped = False
