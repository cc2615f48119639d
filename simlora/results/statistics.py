"""Means and quantiles of any number of values in bounded memory."""

from __future__ import annotations

import math

import numpy as np

from simlora.results.arrays import Floats

EXACT_VALUES = 2_000_000
RELATIVE_ERROR = 1e-3  # of a quantile, once values are folded into bins

_GROWTH = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)  # a bin's upper edge over its lower one
_LOWEST = 1e-7  # smaller values, zero above all, share one bin
_HIGHEST = 1e8
_BINS = math.ceil(math.log(_HIGHEST / _LOWEST) / math.log(_GROWTH)) + 1


class Distribution:
    """Non-negative values, each with a weight: how often it counts.

    Every value is kept up to `exact_values`; beyond that they are folded into bins of equal
    ratio, after which a quantile between 1e-7 and 1e8 is right to `RELATIVE_ERROR` (a smaller one
    reads 0, and none is read outside the smallest and largest value). The mean is always exact.
    """

    __slots__ = (
        "_bins",
        "_chunks",
        "_exact_values",
        "_largest",
        "_smallest",
        "_sorted",
        "_total",
        "size",
        "weight",
    )

    def __init__(self, exact_values: int = EXACT_VALUES) -> None:
        self.size = 0  # values added
        self.weight = 0.0  # sum of their weights
        self._total = 0.0  # sum of value * weight
        self._smallest = math.inf
        self._largest = -math.inf
        self._exact_values = exact_values
        self._chunks: list[tuple[Floats, Floats | None]] = []
        self._sorted: tuple[Floats, Floats | None] | None = None
        self._bins: Floats | None = None

    @property
    def exact(self) -> bool:
        return self._bins is None

    @property
    def mean(self) -> float:
        """Weighted mean; NaN of nothing."""
        return self._total / self.weight if self.weight else math.nan

    def add(self, values: Floats, weights: Floats | None = None) -> None:
        """Add values (>= 0, no NaN), each `weights[i]` (> 0) times, or once."""
        if not len(values):
            return
        self.size += len(values)
        self.weight += float(weights.sum()) if weights is not None else len(values)
        self._total += float(values.sum() if weights is None else (values * weights).sum())
        self._smallest = min(self._smallest, float(values.min()))
        self._largest = max(self._largest, float(values.max()))
        self._sorted = None
        if self._bins is not None:
            self._bin(values, weights)
            return
        self._chunks.append((values, weights))
        if self.size > self._exact_values:
            self.fold()

    def merge(self, other: Distribution) -> None:
        """Add all that `other` holds."""
        if other._bins is None:
            for values, weights in other._chunks:
                self.add(values, weights)
            return
        self.fold()
        assert self._bins is not None
        self._bins += other._bins
        self.size += other.size
        self.weight += other.weight
        self._total += other._total
        self._smallest = min(self._smallest, other._smallest)
        self._largest = max(self._largest, other._largest)

    def fold(self) -> None:
        """Give up the single values for bins."""
        if self._bins is not None:
            return
        self._bins = np.zeros(_BINS)
        for values, weights in self._chunks:
            self._bin(values, weights)
        self._chunks.clear()
        self._sorted = None

    def quantile(self, q: float) -> float:
        """The smallest value that a share `q` of the weight does not exceed; without weights,
        interpolated between the two nearest values as numpy does. NaN of nothing."""
        if not self.size:
            return math.nan
        if self._bins is not None:
            index = int(np.searchsorted(np.cumsum(self._bins), q * self.weight, side="left"))
            # the middle that is off by the same ratio from both edges
            value = _LOWEST * _GROWTH ** (index - 1) * (1 + RELATIVE_ERROR) if index else 0.0
            return min(max(value, self._smallest), self._largest)
        values, cumulated = self._sort()
        if cumulated is None:
            return _interpolated(values, q)
        index = int(np.searchsorted(cumulated, q * cumulated[-1], side="left"))
        return float(values[min(index, len(values) - 1)])

    def _bin(self, values: Floats, weights: Floats | None) -> None:
        assert self._bins is not None
        clipped = np.clip(values, _LOWEST, _HIGHEST)
        index = np.floor(np.log(clipped / _LOWEST) / math.log(_GROWTH)).astype(np.int64) + 1
        index[values < _LOWEST] = 0
        np.minimum(index, _BINS - 1, out=index)
        self._bins += np.bincount(index, weights=weights, minlength=_BINS)

    def _sort(self) -> tuple[Floats, Floats | None]:
        """Values in order, and their cumulated weights (None: every weight is 1)."""
        if self._sorted is None:
            values = np.concatenate([chunk for chunk, _ in self._chunks])
            if all(weights is None for _, weights in self._chunks):
                values.sort()
                self._sorted = values, None
            else:
                weights = np.concatenate(
                    [np.ones(len(v)) if w is None else w for v, w in self._chunks]
                )
                order = np.argsort(values, kind="stable")
                self._sorted = values[order], np.cumsum(weights[order])
        return self._sorted


def _interpolated(ordered: Floats, q: float) -> float:
    """`numpy.quantile` (linear) of values already in order."""
    position = q * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    low, high = float(ordered[below]), float(ordered[above])
    return low + (high - low) * (position - below)
