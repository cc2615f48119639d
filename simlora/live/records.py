"""What took how long: `steps.parquet`, one row for everything that a live run waited for."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

# Kinds of rows. Before the run, `beside`: all adapters are read beside the steps, for what a load
# brings may be refused; `without`: an adapter, whose number it has, could not be put where the run
# was to begin with it. `arrival`: a request, from its time in the traffic to when it was received.
# `timer`: a request that is held back or timed out. `step`: from the scheduler's decision to the
# next tokens. `idle`: the scheduler was asked and had nothing to compute. `transfer`: an adapter on
# its way over one link, from the order on. `load`: an adapter, whose number it has, that the coming
# step was to wait for could not be loaded. `withdraw`: an adapter, whose number it has, goes out of
# service. `stop`: from here on no requests are taken. `cut`: the end of the run.
BESIDE, WITHOUT, ARRIVAL, TIMER, STEP, IDLE, TRANSFER, LOAD, WITHDRAW, STOP, CUT = (
    "beside",
    "without",
    "arrival",
    "timer",
    "step",
    "idle",
    "transfer",
    "load",
    "withdraw",
    "stop",
    "cut",
)


@dataclass(frozen=True, slots=True)
class Row:
    """Times are seconds of the run's clock; no two ends, and no two beginnings of steps, are the
    same instant, but for what comes before the run: that is at 0. `number` counts each kind from 0;
    of arrivals it is the request."""

    kind: str
    number: int
    start_s: float
    end_s: float
    load_s: float = 0.0  # of a step: its blocking loads
    sequences: int = 0
    prefill_tokens: int = 0
    decodes: int = 0
    distinct_adapters: int = 0
    adapter: int = -1
    link: int = -1
    nbytes: int = 0
    failed: bool = False
    final: bool = False  # of what has failed: it is not tried again


NAMES = tuple(field.name for field in fields(Row))


class Rows:
    """Collects rows and writes them as row groups."""

    FLUSH_ROWS = 65_536

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types: dict[str, pa.DataType] = {
            "str": pa.string(),
            "int": pa.int64(),
            "float": pa.float64(),
            "bool": pa.bool_(),
        }
        self._schema = pa.schema([(field.name, types[str(field.type)]) for field in fields(Row)])
        self._writer = pq.ParquetWriter(path, self._schema, compression="snappy")
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Take down one row."""
        self._rows.append(row)
        if len(self._rows) >= self.FLUSH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        columns: dict[str, list[Any]] = {
            name: [getattr(row, name) for row in self._rows] for name in NAMES
        }
        self._writer.write_table(pa.Table.from_pydict(columns, schema=self._schema))
        self._rows.clear()


def read_rows(path: Path) -> list[Row]:
    """The rows of a run, in the order of their ends. Raises UserError if it is no such file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: is no Parquet file: {str(error).splitlines()[0]}") from None
    needed = [field.name for field in fields(Row) if field.default is MISSING]
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(f"{path}: is no table of a live run's steps: has no column {missing[0]}")
    # Files from before a column was there lack it.
    names = [name for name in NAMES if name in table.column_names]
    columns = [table.column(name).to_pylist() for name in names]
    return [Row(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
