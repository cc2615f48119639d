"""Writing trace files, a row group at a time."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from simlora.errors import UserError
from simlora.workload.columns import Lists
from simlora.workload.trace import BLOCK_KEY, TraceRows

_ROW_GROUP = 131_072


class TraceWriter:
    """Writes rows to `path` (.parquet or .csv) as they come; a context manager.

    The file takes its name only when all of it is written: what an error leaves behind is removed.
    The columns are those of the first rows.

    Raises:
        UserError: another kind of file, or a place that cannot be written to.
    """

    def __init__(self, path: Path, prefix_block_tokens: int | None) -> None:
        if path.suffix not in (".parquet", ".csv"):
            raise UserError(
                f"{path}: unknown kind of file; allowed are names ending in .parquet, .csv"
            )
        self.path = path
        self.prefix_block_tokens = prefix_block_tokens
        self.rows_written = 0
        self._partial = path.with_name(path.name + ".partial")
        self._schema: Any = None
        self._writer: Any = None
        self._pending: list[Any] = []
        self._pending_rows = 0

    def __enter__(self) -> TraceWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        return self

    def write(self, rows: TraceRows) -> None:
        """Append rows, in order of arrival."""
        arrays = _arrays(rows, as_text=self.path.suffix == ".csv")
        if self._schema is None:
            self._open(arrays)
        self._pending.append(pa.record_batch(list(arrays.values()), schema=self._schema))
        self._pending_rows += len(rows)
        self.rows_written += len(rows)
        if self._pending_rows >= _ROW_GROUP:
            self._flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        if kind is None and self._writer is not None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)

    def _open(self, arrays: dict[str, Any]) -> None:
        schema = pa.schema([pa.field(name, array.type) for name, array in arrays.items()])
        if self.path.suffix == ".csv":
            options = pa_csv.WriteOptions(quoting_style="needed")
            self._writer = pa_csv.CSVWriter(str(self._partial), schema, write_options=options)
        else:
            if "prefix_hashes" in arrays:
                schema = schema.with_metadata({BLOCK_KEY: str(self.prefix_block_tokens)})
            self._writer = pq.ParquetWriter(
                str(self._partial), schema, compression="zstd", write_statistics=False
            )
        self._schema = schema

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, _ROW_GROUP)
        self._pending, self._pending_rows = [], 0


def _arrays(rows: TraceRows, *, as_text: bool) -> dict[str, Any]:
    arrays = {"arrival_s": pa.array(rows.arrival_s), "tenant": rows.tenant.cast(pa.string())}
    if rows.adapter is not None:
        arrays["adapter"] = rows.adapter.cast(pa.string())
    arrays["prompt_tokens"] = pa.array(rows.prompt_tokens)
    arrays["output_tokens"] = pa.array(rows.output_tokens)
    if rows.session is not None:
        arrays["session"] = pa.array(rows.session, mask=rows.session < 0)
    if rows.priority is not None:
        arrays["priority"] = pa.array(rows.priority)
    if rows.prefix_hashes is not None:
        lists = _list_array(rows.prefix_hashes)
        if as_text:
            words = pa.ListArray.from_arrays(lists.offsets, lists.values.cast(pa.string()))
            lists = pc.binary_join(words, " ")
        arrays["prefix_hashes"] = lists
    return arrays


def _list_array(lists: Lists) -> Any:
    offsets = pa.array([0, *lists.ends.tolist()], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(lists.values, pa.int64()))
