"""Gauges of every replica over time: `timeline.parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simlora.results.activity import COUNTERS, Activity
from simlora.results.arrays import Ints
from simlora.results.arrow import numbers
from simlora.results.columns import RequestColumns

GAUGES = (
    "running",
    "waiting",
    "kv_pages",
    "prefix_pages",
    "adapter_pages",
    "free_pages",
    "hot_adapters",
    "up",
)

_FIRST_INTERVAL_S = 0.125
_MOST_INSTANTS, _FEWEST_INSTANTS = 1000, 64
_MOST_ROWS = 400_000  # instants times replicas

Row = tuple[float, int, int, int, int, int, int, int, int, int]  # time, replica, gauges


class Timeline:
    """Gauges at instants `interval_s` apart, and what happened between them.

    Only so many instants are kept: when there are more, every other one is dropped and the
    interval doubles. All replicas are sampled at an instant, the first one at 0.
    """

    def __init__(self, replicas: int) -> None:
        self.interval_s = _FIRST_INTERVAL_S
        self._most_instants = max(min(_MOST_INSTANTS, _MOST_ROWS // replicas), _FEWEST_INSTANTS)
        self._rows: list[Row] = []
        self._starts: list[int] = []  # index in _rows at which each instant begins
        self._last_s = -1.0
        self._activity = Activity(_FIRST_INTERVAL_S, 2 * self._most_instants, replicas)

    def sample(self, row: Row) -> None:
        """Add one replica's gauges."""
        if row[0] != self._last_s:
            if len(self._starts) >= self._most_instants:
                self._thin()
            self._starts.append(len(self._rows))
            self._last_s = row[0]
        self._rows.append(row)

    def add(self, columns: RequestColumns) -> None:
        """Count what became of these requests, and when."""
        self._activity.add(columns)

    def replicas_up(self) -> Ints:
        """How many replicas were up at each instant."""
        up = np.array([row[-1] for row in self._rows], dtype=np.int64)
        return np.add.reduceat(up, self._starts) if len(up) else up

    def write(self, path: Path) -> None:
        """One row per instant and replica: the gauges then, and the counts since the instant
        before; the last row's counts reach to the end of the run."""
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, 2 + len(GAUGES))
        replica = rows[:, 1].astype(np.int16)
        counts = np.zeros((len(COUNTERS), len(rows)), dtype=np.int64)
        for of in np.unique(replica):
            here = replica == of
            counts[:, here] = self._activity.between(rows[here, 0], int(of))
        columns: dict[str, Any] = {"time_s": rows[:, 0], "replica": replica}
        for index, name in enumerate(GAUGES):
            columns[name] = rows[:, 2 + index].astype(np.int64)
        columns.update(zip(COUNTERS, counts, strict=True))
        table = pa.table({name: numbers(values) for name, values in columns.items()})
        pq.write_table(table, path, compression="snappy")

    def _thin(self) -> None:
        ends = [*self._starts[1:], len(self._rows)]
        kept: list[Row] = []
        starts = []
        for start, end in list(zip(self._starts, ends, strict=True))[::2]:
            starts.append(len(kept))
            kept.extend(self._rows[start:end])
        self._rows, self._starts = kept, starts
        self.interval_s *= 2
