"""Quantiles of one metric for each of many tenants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simlora.results.arrays import Floats, Indexes, Ints

_CELLS = 16_000_000  # of all tenants' bins together
_MOST_BINS, _FEWEST_BINS = 4096, 32
_LOWEST, _HIGHEST = 1e-4, 1e5
_ROWS = 1024  # tenants whose bins are summed at once


class TenantQuantiles:
    """Values by tenant: each kept up to `exact_values` in all, then counted in bins of equal
    ratio, the finer the fewer tenants there are (`relative_error`; values outside 1e-4 .. 1e5 are
    counted at these ends)."""

    def __init__(self, tenants: int, exact_values: int) -> None:
        self._tenants = tenants
        self._exact_values = exact_values
        self._size = 0
        self._chunks: list[tuple[Indexes, Floats]] = []
        self._bins: np.ndarray[Any, np.dtype[np.uint32]] | None = None
        self._bin_count = min(max(_CELLS // tenants, _FEWEST_BINS), _MOST_BINS)
        self._bin_log = math.log(_HIGHEST / _LOWEST) / self._bin_count

    @property
    def exact(self) -> bool:
        return self._bins is None

    @property
    def relative_error(self) -> float:
        return 0.0 if self.exact else math.tanh(self._bin_log / 2)

    def add(self, tenant: Indexes, values: Floats) -> None:
        """Add values (no NaN) with their tenants."""
        if not len(values):
            return
        self._size += len(values)
        if self._bins is not None:
            self._bin(tenant, values)
            return
        self._chunks.append((tenant, values))
        if self._size > self._exact_values:
            self._bins = np.zeros((self._tenants, self._bin_count), dtype=np.uint32)
            for chunk in self._chunks:
                self._bin(*chunk)
            self._chunks.clear()

    def quantiles(self, qs: tuple[float, ...]) -> list[Floats]:
        """For each `q`, the quantile of every tenant; NaN for a tenant without values."""
        if not self._size:
            return [np.full(self._tenants, np.nan) for _ in qs]
        if self._bins is not None:
            return self._binned_quantiles(self._bins, qs)
        tenant = np.concatenate([chunk for chunk, _ in self._chunks])
        values = np.concatenate([chunk for _, chunk in self._chunks])
        by_value = np.argsort(values)
        # numpy sorts 16-bit integers by radix, several times faster
        narrow = tenant.astype(np.uint16) if self._tenants <= 2**16 else tenant
        ordered = values[by_value][np.argsort(narrow[by_value], kind="stable")]
        counts = np.bincount(tenant, minlength=self._tenants)
        return [_of_groups(ordered, counts, q) for q in qs]

    def _bin(self, tenant: Indexes, values: Floats) -> None:
        assert self._bins is not None
        index = np.log(np.clip(values, _LOWEST, _HIGHEST) / _LOWEST) / self._bin_log
        flat = tenant.astype(np.int64) * self._bin_count
        flat += np.minimum(index.astype(np.int64), self._bin_count - 1)
        cells, counts = np.unique(flat, return_counts=True)
        self._bins.reshape(-1)[cells] += counts.astype(np.uint32)

    def _binned_quantiles(
        self, bins: np.ndarray[Any, np.dtype[np.uint32]], qs: tuple[float, ...]
    ) -> list[Floats]:
        found = [np.full(self._tenants, np.nan) for _ in qs]
        for start in range(0, self._tenants, _ROWS):
            cumulated = np.cumsum(bins[start : start + _ROWS], axis=1, dtype=np.int64)
            counts = cumulated[:, -1]
            for values, q in zip(found, qs, strict=True):
                index = (cumulated < (q * counts)[:, None]).sum(axis=1)
                middle = _LOWEST * np.exp((index + 0.5) * self._bin_log)
                values[start : start + _ROWS] = np.where(counts > 0, middle, np.nan)
        return found


def _of_groups(ordered: Floats, counts: Ints, q: float) -> Floats:
    """Interpolated quantile of consecutive groups of `counts[i]` values in order."""
    position = np.maximum(q * (counts - 1), 0)
    below = position.astype(np.int64)
    share = position - below
    first = np.cumsum(counts) - counts
    last = len(ordered) - 1
    low = ordered[np.minimum(first + below, last)]
    high = ordered[np.minimum(first + np.minimum(below + 1, np.maximum(counts - 1, 0)), last)]
    return np.where(counts > 0, low + (high - low) * share, np.nan)
