"""`sweep.parquet`: one row a point."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.planning.sweep_grid import Point
from simlora.planning.sweep_store import TABLE, Store
from simlora.planning.sweep_work import FAILED, Record
from simlora.registry.atomic import replace_file

# Columns that differ from run to run of the same point.
OF_THE_RUN = ("wall_s", "provenance.host", "provenance.started_at")


def write_table(store: Store, points: Sequence[Point], keys: Sequence[str]) -> Path:
    """Write the rows of the points that have ended, in the points' order, and return the file.

    The columns: `point` (a number for each combination of settings), `scenario` (its name), the
    `keys` as they were set, `replication`, `seed`, `status` (ok or failed), `error`, `wall_s`,
    `provenance.*`, and the figures of `summary.json` by dotted key, of which a key that was set
    takes the place. A point that no scenario could be made of has no provenance.

    Raises UserError if the table cannot be written, or a record cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {}
    rows = 0
    for point in points:
        record = Record(FAILED, point.error, host="") if point.hash is None else None
        if point.hash is not None:
            record = store.read(point.hash)
        if record is None:
            continue
        for name, value in row_of(point, record, keys).items():
            column = columns.setdefault(name, [])
            column += [None] * (rows - len(column))  # rows before that have no such figure
            column.append(value)
        rows += 1
    for column in columns.values():
        column += [None] * (rows - len(column))
    table = pa.table({name: _array(name, column) for name, column in columns.items()})
    path = store.directory / TABLE
    written = io.BytesIO()
    pq.write_table(table, written)
    try:
        replace_file(path, written.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    return path


def row_of(point: Point, record: Record, keys: Sequence[str]) -> dict[str, Any]:
    """The row of a point by column, see `write_table`."""
    known = point.hash is not None
    row: dict[str, Any] = {
        "point": point.index,
        "scenario": point.scenario,
        **{key: point.settings.get(key) for key in keys},
        "replication": point.replication,
        "seed": point.seed,
        "status": record.status,
        "error": record.error,
        "wall_s": record.wall_s,
        "provenance.hash": point.hash,
        "provenance.version": record.version,
        "provenance.profile": record.profile,
        "provenance.timing_hash": record.timing_hash,
        "provenance.host": record.host if known else None,
        "provenance.started_at": record.started_at,
    }
    return row | {key: value for key, value in record.figures.items() if key not in row}


def _array(name: str, values: list[Any]) -> Any:
    """The values with the narrowest type that takes them all; JSON texts if there is none."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if name == "error" or name.startswith("provenance."):
        return pa.array(values, pa.string())  # also where nothing failed, or everything did
    if kinds <= {int, float}:
        try:
            return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
        except (OverflowError, pa.ArrowInvalid):
            pass
    elif kinds == {bool}:
        return pa.array(values, pa.bool_())
    elif kinds == {str}:
        return pa.array(values, pa.string())
    told = [value if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pa.array(told, pa.string())
