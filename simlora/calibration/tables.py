"""Measurements from CSV files, every mistake told with its file and line."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simlora.calibration.formats import RUNS, UNITS, Column, Format, recognize
from simlora.errors import UserError
from simlora.scenario.problems import given, one_of
from simlora.validation.cells import plain_number

Floats = NDArray[np.float64]

# Sorted values of one kind of time do not jump by this much, unless units are mixed.
UNIT_JUMP = 100.0


@dataclass(slots=True)
class Table:
    """One file: columns by canonical name (times in seconds), and the line of each row.

    `settings` are the columns of a runs table that have a dot in their name: scenario fields.
    """

    path: Path
    format: Format
    columns: dict[str, Floats]
    lines: list[int]
    text: dict[str, list[str]] = field(default_factory=dict)
    settings: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """File and line of a row, for a message."""
        return f"{self.path}:{self.lines[row]}"


@dataclass(frozen=True, slots=True)
class Selection:
    """How foreign tables are read: `names` maps our column to theirs, `where` their column to the
    value that a row must have."""

    names: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)


def read_tables(paths: Sequence[Path], selection: Selection) -> list[Table]:
    """Read all files. Raises UserError, also if a column that is mapped or selected by is in none
    of them."""
    raw = [_read(path) for path in paths]
    seen = {name for header, _, _ in raw for name in header}
    for option, names in (("--map", selection.names.values()), ("--where", selection.where)):
        for name in names:
            if name not in seen:
                near = difflib.get_close_matches(name, seen, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {one_of(sorted(seen))}"
                raise UserError(f'{option}: no file has a column "{name}"; {hint}')
    return [
        _table(path, header, rows, lines, selection)
        for path, (header, rows, lines) in zip(paths, raw, strict=True)
    ]


def _read(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows, lines = [], []
            for row in reader:
                if any(cell.strip() for cell in row):
                    rows.append(row)
                    lines.append(reader.line_num)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory, not a table of measurements") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text, so it is no CSV file") from None
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: is not valid CSV: {error}") from None
    if not any(header):
        raise UserError(f"{path}: is empty: a table begins with a line of column names")
    for name in header:
        if name and header.count(name) > 1:
            raise UserError(f'{path}:1: column "{name}" is there twice')
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise UserError(
                f"{path}:{line}: has {len(row)} cells, but the header has {len(header)}"
            )
    return header, rows, lines


def _table(
    path: Path, header: list[str], rows: list[list[str]], lines: list[int], selection: Selection
) -> Table:
    ours = {theirs: name for name, theirs in selection.names.items()}
    names = [ours.get(name, name) for name in header]
    for name in names:
        if name and names.count(name) > 1:
            raise UserError(f'--map: {path} then has two columns "{name}"')
    fmt = recognize(names, str(path))
    kept = [
        index
        for index, row in enumerate(rows)
        if all(
            _equal(row[header.index(name)].strip(), value)
            for name, value in selection.where.items()
            if name in header
        )
    ]
    if not rows:
        raise UserError(f"{path}: has a header, but no measurements")
    if not kept:
        raise UserError(f"{path}: --where leaves none of its {len(rows)} rows")
    table = Table(path, fmt, {}, [lines[index] for index in kept])
    for position, name in enumerate(names):
        cells = [rows[index][position].strip() for index in kept]
        found = fmt.find(name)
        if found is not None:
            _add_column(table, *found, name, cells)
        elif fmt is RUNS and "." in name:
            table.settings[name] = cells
        else:
            _hint(table, name)
    _check_columns(table)
    return table


def _equal(cell: str, value: str) -> bool:
    number = plain_number(value)
    return cell == value or (number is not None and plain_number(cell) == number)


def _add_column(table: Table, column: Column, factor: float, name: str, cells: list[str]) -> None:
    if column.name in table.columns:
        units = one_of(list(column.spellings))
        raise UserError(f"{table.path}: has {column.name} in two units; keep one of {units}")
    if column.text:
        for row, cell in enumerate(cells):
            if not cell:
                raise UserError(f"{table.place(row)}: {name}: is missing")
        table.text[column.name] = cells
        return
    values = np.array(
        [
            _number(cell, column, factor, f"{table.place(row)}: {name}")
            for row, cell in enumerate(cells)
        ]
    )
    table.columns[column.name] = values * factor
    if column.plausible is not None:
        _check_units(table, column, name)


def _number(cell: str, column: Column, factor: float, where: str) -> float:
    if not cell:
        if column.blank:
            return math.nan
        raise UserError(f"{where}: is missing")
    value = plain_number(cell)
    if value is None:
        raise UserError(f"{where}: must be a number, not {given(cell)}")
    problem = column.problem(value, factor)
    if problem:
        raise UserError(f"{where}: {problem}, not {given(cell)[1:-1]}")
    return value


def _check_units(table: Table, column: Column, name: str) -> None:
    values = table.columns[column.name]
    measured = np.flatnonzero(~np.isnan(values))
    if not len(measured) or column.plausible is None:
        return
    lowest, highest = column.plausible
    unit = "s" if column.is_time else ""
    median = float(np.median(values[measured]))
    if not lowest <= median <= highest:
        advice = f": is it in another unit ({one_of(list(column.spellings))})?" if unit else ""
        table.warnings.append(
            f"{table.path}: the median of {name} is {median:.3g} {unit}".rstrip()
            + f", outside the plausible {lowest:g} to {highest:g} {unit}".rstrip()
            + advice
        )
    if not column.is_time or highest / lowest > UNITS["s"] / UNITS["us"]:
        return  # what may span six orders by nature tells nothing by a jump
    order = measured[np.argsort(values[measured])]
    ascending = values[order]
    jumps = ascending[1:] / ascending[:-1]
    if len(jumps) and jumps.max() > UNIT_JUMP:
        at = int(jumps.argmax())
        table.warnings.append(
            f"{table.place(int(order[at + 1]))}: {name} jumps from {ascending[at]:.3g} s "
            f"(line {table.lines[int(order[at])]}) to {ascending[at + 1]:.3g} s with nothing "
            "between: are units mixed up?"
        )


def _hint(table: Table, name: str) -> None:
    """A column nobody asked for is ignored, unless it looks misspelt."""
    known = [spelling for c in table.format.columns.values() for spelling in c.spellings]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    if near and not any(near[0] in c.spellings for c in _present(table)):
        table.warnings.append(f'{table.path}: column "{name}" is not used; did you mean {near[0]}?')


def _present(table: Table) -> list[Column]:
    return [table.format.columns[name] for name in (*table.columns, *table.text)]


def _check_columns(table: Table) -> None:
    for group in table.format.one_of:
        if not any(name in table.columns for name in group):
            raise UserError(
                f"{table.path}: lacks a column: a table of {table.format.name} needs "
                f"{one_of(group)} beside {table.format.key}"
            )
    for key, cells in table.settings.items():
        if not all(key.split(".")):
            raise UserError(f'{table.path}: column "{key}" is no field of a scenario')
        for row, cell in enumerate(cells):
            if not cell:
                raise UserError(f"{table.place(row)}: {key}: is missing")
