"""The clock: how long a call takes the device, with operands in memory and not in its cache.

On a GPU a call is repeated within a CUDA graph, so that the host does not matter, and before each
repetition the cache is cleared. A second graph does nothing but clear; the difference of the two,
divided by the repetitions, is the call's time. It includes what a launch costs between two others,
as in a real step, and not what it costs to start a graph or to record an event.

The cache is cleared by reading 256 MiB, several times its size. Writing would leave it full of
lines that have yet to go to memory, at the expense of the call that comes next.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

CLEAR_BYTES = 256 * 2**20
CLEAR_ROWS = 4096
# At most so long by the host's count, which is above the device's: runs of the clear differ by a
# percent, and with more of them that evens out.
GRAPH_S = 5e-3
REPETITIONS = (20, 10, 5, 2, 1)  # in a graph
MOST_REPLAYS, LEAST_REPLAYS, REPLAYS_S = 25, 5, 0.25


@dataclass(frozen=True, slots=True)
class Times:
    """Microseconds of a call: of `samples` measurements."""

    median_us: float
    p10_us: float
    p90_us: float
    samples: int

    @classmethod
    def of(cls, samples_us: list[float]) -> Times:
        """Of at least two measurements."""
        deciles = statistics.quantiles(samples_us, n=10, method="inclusive")
        return cls(statistics.median(samples_us), deciles[0], deciles[-1], len(samples_us))


class Clock(Protocol):
    """Something that times calls that touch the device only."""

    def __call__(self, run: Callable[[], object]) -> Times:
        """Time `run`, which is called several times over."""


def wall_clock(run: Callable[[], object]) -> Times:
    """On a CPU: the time from call to return, in a warm cache."""
    run()
    samples = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        samples.append((time.perf_counter() - start) * 1e6)
    return Times.of(samples)


class GraphClock:
    """On a GPU: see above. A call must neither wait for the device nor allocate outside torch."""

    def __init__(self, device: torch.device) -> None:
        # Everything runs on one stream that is not the default one, which cannot be captured; what
        # libraries set up for a stream is there before the first capture.
        self._stream = torch.cuda.Stream(device)
        columns = CLEAR_BYTES // (4 * CLEAR_ROWS)
        self._cold = torch.zeros(CLEAR_ROWS, columns, dtype=torch.float32, device=device)
        self._sums = torch.empty(CLEAR_ROWS, dtype=torch.float32, device=device)
        self._clears: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, run: Callable[[], object]) -> Times:
        """Time `run`, which is called several times over."""
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            call_s = self._warm_up(run)
        count = next(n for n in REPETITIONS if n * call_s <= GRAPH_S or n == 1)
        if count not in self._clears:
            self._clears[count] = self._capture(self._clear, count)

        def cleared() -> None:
            self._clear()
            run()

        graphs = (self._capture(cleared, count), self._clears[count])
        replays = round(min(max(REPLAYS_S / (count * call_s), LEAST_REPLAYS), MOST_REPLAYS))

        events = []
        with torch.cuda.stream(self._stream):
            # Nothing waits until all is given to the device, so that it never waits for the host.
            for _ in range(replays + 1):
                for graph in graphs:
                    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                    start.record()
                    graph.replay()
                    end.record()
                    events.append((start, end))
        self._stream.synchronize()
        ms = [start.elapsed_time(end) for start, end in events[2:]]  # the first ones warm up
        return Times.of(
            [(both - clear) * 1e3 / count for both, clear in zip(ms[::2], ms[1::2], strict=True)]
        )

    def _clear(self) -> None:
        torch.sum(self._cold, dim=1, out=self._sums)

    def _warm_up(self, run: Callable[[], object]) -> float:
        """Compile, choose algorithms, allocate. Returns the seconds of a call with a clear."""
        for _ in range(2):
            run()
        self._stream.synchronize()
        start = time.perf_counter()
        self._clear()
        run()
        self._stream.synchronize()
        return time.perf_counter() - start

    def _capture(self, run: Callable[[], object], count: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            for _ in range(count):
                run()
        return graph
