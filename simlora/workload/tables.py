"""Opening Parquet and CSV files as streams of record batches, with errors a user can act on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from simlora.errors import UserError
from simlora.workload.blocks import BLOCK_ROWS

_CSV_CHUNK_BYTES = 1 << 20
TABLE_SUFFIXES = (".parquet", ".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch lies in its file, for error messages."""

    path: Path
    first_row: int  # 0-based number of the batch's first row
    is_text: bool  # text files are spoken of by line, the header being line 1

    def at(self, row: int) -> str:
        """Return `file:line` or `file: row n` (from 1) of a row of the batch."""
        number = self.first_row + row
        return f"{self.path}:{number + 2}" if self.is_text else f"{self.path}: row {number + 1}"


@dataclass(frozen=True, slots=True)
class Table:
    """An opened file: its columns, its rows if known, and a way to stream its batches.

    Columns of a CSV file are all strings. Batches have at most `BLOCK_ROWS` rows.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int | None
    metadata: dict[str, str]
    is_text: bool
    _stream: Callable[[list[str]], Iterator[Any]] = field(repr=False)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[Place, Any]]:
        """Yield (place, record batch with just `columns`), in the file's order.

        Raises:
            UserError: the file turns out damaged on the way.
        """
        row = 0
        try:
            for batch in self._stream(list(columns)):
                for first in range(0, batch.num_rows, BLOCK_ROWS):
                    part = batch.slice(first, BLOCK_ROWS)
                    yield Place(self.path, row, self.is_text), part
                    row += part.num_rows
        except (pa.ArrowException, OSError, EOFError) as error:
            raise UserError(f"{self.path}: damaged after row {row}: {one_line(error)}") from error

    def require(self, columns: Sequence[str], hint: str = "") -> None:
        """Raise a UserError unless all `columns` are there."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise UserError(
                f"{self.path}: no column {', '.join(missing)}; the file has "
                f"{', '.join(self.columns)}{hint}"
            )


def open_table(path: Path) -> Table:
    """Open a `.parquet`, `.csv` or `.csv.gz` file.

    Raises:
        UserError: no such file, not a file, empty, of another kind, or damaged at its start.
    """
    check_file(path)
    if not path.name.lower().endswith(TABLE_SUFFIXES):
        raise UserError(
            f"{path}: unknown kind of file; allowed are names ending in {', '.join(TABLE_SUFFIXES)}"
        )
    try:
        table = _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_csv(path)
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except (pa.ArrowException, OSError, EOFError) as error:
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "CSV"
        raise UserError(f"{path}: not a readable {kind} file: {one_line(error)}") from error
    twice = sorted({name for name in table.columns if table.columns.count(name) > 1})
    if twice:
        raise UserError(f"{path}: column {twice[0]} is there twice")
    return table


def check_file(path: Path) -> None:
    """Raise a UserError unless `path` is a file with something in it."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: not a file")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")


def one_line(error: BaseException) -> str:
    """Return an error's message without its line breaks and final full stop."""
    return " ".join(str(error).split()).rstrip(".")[:300]


def _open_parquet(path: Path) -> Table:
    # Without pre-buffering a row group is decoded as it is read: one huge group stays cheap.
    with pq.ParquetFile(path, pre_buffer=False) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    strings = [f.name for f in schema if pa.types.is_string(f.type) or _is_large_string(f.type)]

    def stream(columns: list[str]) -> Iterator[Any]:
        encoded = [name for name in columns if name in strings]
        with pq.ParquetFile(
            path, pre_buffer=False, buffer_size=1 << 16, read_dictionary=encoded
        ) as file:
            yield from file.iter_batches(batch_size=BLOCK_ROWS, columns=columns)

    metadata = {
        k.decode(): v.decode("utf-8", "replace") for k, v in (schema.metadata or {}).items()
    }
    return Table(path, tuple(schema.names), rows, metadata, False, stream)


def _is_large_string(kind: Any) -> bool:
    return bool(pa.types.is_large_string(kind))


def _open_csv(path: Path) -> Table:
    columns = _csv_columns(path)

    def stream(wanted: list[str]) -> Iterator[Any]:
        refused: list[Any] = []  # Arrow swallows what is raised in a handler

        def refuse(row: Any) -> str:
            refused.append(row)
            return "error"

        try:
            # One thread: with more, Arrow knows no row number for a malformed row.
            with pa_csv.open_csv(
                path,
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=_CSV_CHUNK_BYTES),
                parse_options=pa_csv.ParseOptions(invalid_row_handler=refuse),
                convert_options=pa_csv.ConvertOptions(
                    column_types={name: pa.string() for name in columns},
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            ) as reader:
                yield from reader
        except pa.ArrowInvalid as error:
            if not refused:
                raise
            row = refused[0]
            raise UserError(
                f"{path}:{row.number}: {row.actual_columns} fields where the header has "
                f"{row.expected_columns}"
            ) from error

    return Table(path, columns, None, {}, True, stream)


def _csv_columns(path: Path) -> tuple[str, ...]:
    """Return the names in the header line, of a plain or gzipped file."""
    with pa.input_stream(str(path), compression="detect") as file:
        head = file.read(1 << 16)
    line = head.decode("utf-8-sig", "strict" if len(head) < (1 << 16) else "ignore")
    if "\x00" in line:
        raise UserError(f"{path}: not a readable CSV file: it holds binary data")
    header = line.splitlines()[0] if line.strip() else ""
    if not header.strip():
        raise UserError(f"{path}: the first line, which must name the columns, is empty")
    return tuple(name.strip().strip('"') for name in header.split(","))
