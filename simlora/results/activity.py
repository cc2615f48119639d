"""Requests and tokens per replica over time, counted in bins that widen as the run grows."""

from __future__ import annotations

import numpy as np

from simlora.results.arrays import Bools, Floats, Ints
from simlora.results.columns import RequestColumns
from simlora.serving.request import SOURCE_HOT, SOURCE_NONE

COUNTERS = ("arrived", "completed", "output_tokens", "adapter_lookups", "adapter_hits")


class Activity:
    """Counts by counter, replica and time bin; at most `bins` bins, at first of `bin_s`.

    Arrivals, lookups and hits are counted when the request arrived; completions and their output
    tokens when it finished. Requests that reached no replica are not counted.
    """

    def __init__(self, bin_s: float, bins: int, replicas: int) -> None:
        self.bin_s = bin_s
        self._bins = bins + bins % 2
        self._replicas = replicas
        self._counts = np.zeros((len(COUNTERS), replicas, self._bins), dtype=np.int64)

    def add(self, columns: RequestColumns) -> None:
        routed = columns.replica >= 0
        completed = routed & columns.completed
        self._widen(columns.arrival_s[routed], columns.finish_s[completed])
        source = columns.adapter_source
        arrived = (columns.arrival_s, columns.replica)
        finished = (columns.finish_s, columns.replica)
        self._count(0, *arrived, routed)
        self._count(1, *finished, completed)
        self._count(2, *finished, completed, columns.output_tokens)
        self._count(3, *arrived, routed & (source != SOURCE_NONE))
        self._count(4, *arrived, routed & (source == SOURCE_HOT))

    def between(self, instants: Floats, replica: int) -> Ints:
        """Counts of a replica up to each instant since the one before; (counters, instants).

        The last instant takes what came after it too: the counts add up to the run's.
        """
        edges = np.minimum(np.rint(instants / self.bin_s).astype(np.int64), self._bins)
        edges[-1:] = self._bins
        cumulated = np.zeros((len(COUNTERS), self._bins + 1), dtype=np.int64)
        np.cumsum(self._counts[:, replica], axis=1, out=cumulated[:, 1:])
        return np.diff(cumulated[:, edges], axis=1, prepend=0)

    def _widen(self, *times: Floats) -> None:
        latest = max((float(part.max()) for part in times if len(part)), default=0.0)
        while latest >= self.bin_s * self._bins:
            pairs = self._counts.reshape(len(COUNTERS), self._replicas, -1, 2).sum(axis=3)
            self._counts[:] = 0
            self._counts[:, :, : self._bins // 2] = pairs
            self.bin_s *= 2

    def _count(
        self,
        counter: int,
        times: Floats,
        replica: np.ndarray[tuple[int, ...], np.dtype[np.int16]],
        rows: Bools,
        weights: np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None = None,
    ) -> None:
        cell = (times[rows] / self.bin_s).astype(np.int64)
        cell += replica[rows].astype(np.int64) * self._bins
        counted = np.bincount(
            cell,
            None if weights is None else weights[rows],
            minlength=self._replicas * self._bins,
        )
        self._counts[counter] += counted.astype(np.int64).reshape(self._replicas, self._bins)
