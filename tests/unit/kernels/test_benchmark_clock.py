"""The benchmark's clock for GPUs, on a simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from kernels.benchmark import timing


class SimulatedGpu:
    """Stands in for torch.cuda: work adds to the time at once, also while it is captured."""

    START_OF_GRAPH_US = 9.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_us = 0.0
        self.capturing = False
        self.captured_calls: list[float] = []
        gpu = self

        class Graph:
            cost_us = 0.0

            def replay(self) -> None:
                gpu.now_us += gpu.START_OF_GRAPH_US + self.cost_us

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at_us = gpu.now_us

            def elapsed_time(self, end: Event) -> float:
                return (end.at_us - self.at_us) / 1e3

        class Stream:
            def __init__(self, device: Any) -> None: ...

            def synchronize(self) -> None:
                assert not gpu.capturing

        @contextmanager
        def graph(graph: Graph, stream: Any) -> Iterator[None]:
            began, gpu.capturing = gpu.now_us, True
            yield
            graph.cost_us, gpu.capturing = gpu.now_us - began, False
            gpu.now_us = began

        @contextmanager
        def stream(stream: Any) -> Iterator[None]:
            yield

        for name, stand_in in {
            "CUDAGraph": Graph, "Event": Event, "Stream": Stream, "graph": graph, "stream": stream,
            "synchronize": lambda: None,
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, stand_in)

    def work(self, us: float) -> None:
        self.now_us += us
        if self.capturing:
            self.captured_calls.append(us)


@pytest.mark.parametrize("host_s", [1e-5, 1.0])
def test_the_gpu_s_clock_counts_neither_the_clearing_nor_the_start_of_a_graph(
    monkeypatch: pytest.MonkeyPatch, host_s: float
) -> None:
    monkeypatch.setattr(timing, "CLEAR_BYTES", 4 * timing.CLEAR_ROWS)
    gpu = SimulatedGpu(monkeypatch)
    monkeypatch.setattr(timing.GraphClock, "_clear", lambda self: gpu.work(60.0))
    host = iter([0.0, host_s])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(host))
    times = timing.GraphClock(torch.device("cpu"))(lambda: gpu.work(7.0))
    assert times.median_us == pytest.approx(7.0)
    assert times.p90_us == pytest.approx(7.0)
    repetitions, samples = (20, 25) if host_s < 1 else (1, 5)
    assert gpu.captured_calls.count(7.0) == repetitions
    assert gpu.captured_calls.count(60.0) == 2 * repetitions  # a clear before each, and alone
    assert times.samples == samples
