"""Poisson processes whose rate changes with time: MMPP and diurnal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from simlora.scenario.traffic import DiurnalShape, MmppShape
from simlora.workload.blocks import BLOCK_ROWS, Floats
from simlora.workload.randomness import Purpose

_SOJOURNS = 1024  # calm and burst pairs drawn at a time


class Mmpp:
    """Two-state Markov-modulated Poisson process, started in its stationary state.

    Arrivals of a unit-rate Poisson process are carried over to real time through the inverse of
    the integrated rate, which is piecewise linear: exact, and vectorized by interpolation.
    """

    def __init__(self, shape: MmppShape) -> None:
        self.shape = shape

    def times(
        self, rate_rps: float, stream: Callable[[Purpose], np.random.Generator]
    ) -> Iterator[Floats]:
        arrivals, modulation = stream(Purpose.ARRIVALS), stream(Purpose.MODULATION)
        shape = self.shape
        cycle_s = shape.calm_s + shape.burst_s
        calm_rps = rate_rps * cycle_s / (shape.calm_s + shape.burst_factor * shape.burst_s)
        burst_first = modulation.random() < shape.burst_s / cycle_s
        means_s = np.tile([shape.calm_s, shape.burst_s], _SOJOURNS)
        rates = np.tile([calm_rps, calm_rps * shape.burst_factor], _SOJOURNS)
        if burst_first:
            means_s, rates = means_s[::-1], rates[::-1]

        clock = np.zeros(1)  # ends of sojourns, and the integrated rate there
        expected = np.zeros(1)
        last = 0.0
        while True:
            units = last + np.cumsum(arrivals.standard_exponential(BLOCK_ROWS))
            last = float(units[-1])
            while expected[-1] < last:
                # Yielded as far as the sojourns go: however short they are, little is kept.
                known = int(np.searchsorted(units, expected[-1], side="right"))
                yield np.interp(units[:known], expected, clock)
                units = units[known:]
                sojourns = modulation.standard_exponential(2 * _SOJOURNS) * means_s
                clock = np.concatenate([clock[-1:], clock[-1] + np.cumsum(sojourns)])
                expected = np.concatenate(
                    [expected[-1:], expected[-1] + np.cumsum(sojourns * rates)]
                )
            yield np.interp(units, expected, clock)


class Diurnal:
    """Poisson whose rate is `rate_rps * (1 + a cos(2 pi (t - peak) / period))`, by thinning."""

    def __init__(self, shape: DiurnalShape) -> None:
        self.shape = shape

    def times(
        self, rate_rps: float, stream: Callable[[Purpose], np.random.Generator]
    ) -> Iterator[Floats]:
        arrivals, modulation = stream(Purpose.ARRIVALS), stream(Purpose.MODULATION)
        shape = self.shape
        swing = (shape.peak_to_trough - 1) / (shape.peak_to_trough + 1)
        peak_rps = rate_rps * (1 + swing)
        last = 0.0
        while True:
            times = last + np.cumsum(arrivals.standard_exponential(BLOCK_ROWS)) / peak_rps
            last = float(times[-1])
            phase = (2 * np.pi / shape.period_s) * (times - shape.peak_at_s)
            keep = modulation.random(BLOCK_ROWS) * (1 + swing) < 1 + swing * np.cos(phase)
            yield times[keep]
