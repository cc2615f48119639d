"""Renewal processes: independent, alike gaps between arrivals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np

from simlora.errors import UserError
from simlora.workload.blocks import BLOCK_ROWS, Floats
from simlora.workload.randomness import Purpose


class Renewal(ABC):
    """Gaps drawn by `unit_gaps`, of mean 1, divided by the rate."""

    @abstractmethod
    def unit_gaps(self, random: np.random.Generator, count: int) -> Floats:
        """Return `count` gaps of mean 1."""

    def times(
        self, rate_rps: float, stream: Callable[[Purpose], np.random.Generator]
    ) -> Iterator[Floats]:
        random = stream(Purpose.ARRIVALS)
        last = 0.0
        while True:
            times = np.cumsum(self.unit_gaps(random, BLOCK_ROWS)) / rate_rps
            times += last
            last = float(times[-1])
            yield times


class Poisson(Renewal):
    """Exponential gaps: independent users."""

    def unit_gaps(self, random: np.random.Generator, count: int) -> Floats:
        return random.standard_exponential(count)


class Constant(Renewal):
    """Evenly spaced arrivals: a metronome, for comparison with theory."""

    def unit_gaps(self, random: np.random.Generator, count: int) -> Floats:
        return np.ones(count)


class Gamma(Renewal):
    """Gamma gaps with coefficient of variation `cv`: shape 1/cv^2, scale cv^2."""

    def __init__(self, cv: float) -> None:
        self.shape = cv**-2

    def unit_gaps(self, random: np.random.Generator, count: int) -> Floats:
        return random.standard_gamma(self.shape, count) / self.shape


class Weibull(Renewal):
    """Weibull gaps with coefficient of variation `cv`: a heavier tail than Gamma's if cv > 1."""

    def __init__(self, cv: float) -> None:
        self.shape = weibull_shape(cv)
        self.mean = math.gamma(1 + 1 / self.shape)

    def unit_gaps(self, random: np.random.Generator, count: int) -> Floats:
        return random.weibull(self.shape, count) / self.mean


def weibull_shape(cv: float) -> float:
    """Return the shape k of the Weibull distribution whose coefficient of variation is `cv`.

    Solves cv^2 = G(1+2/k) / G(1+1/k)^2 - 1 (G: gamma function) by bisection.

    Raises:
        UserError: a cv outside 0.002 .. 400, beyond which k cannot be found in double precision.
    """
    low, high = 0.1, 1000.0
    if not _weibull_cv(high) <= cv <= _weibull_cv(low):
        raise UserError(
            f"a Weibull gap with cv {cv:g} cannot be drawn; allowed is {_weibull_cv(high):.3f} to "
            f"{_weibull_cv(low):.0f}"
        )
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if _weibull_cv(middle) > cv:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _weibull_cv(shape: float) -> float:
    return math.sqrt(math.expm1(math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape)))
