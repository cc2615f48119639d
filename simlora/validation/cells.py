"""Tables of published runs as they lie on the disk: lines, cells, and a sentence about each mistake
with file, line and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from simlora.errors import UserError
from simlora.scenario.problems import given

# Whatever is measured or asked for lies between these, or is 0; so no quotient overflows.
LEAST = 1e-12
MOST = 1e15
LARGEST_COUNT = 1_000_000
LARGEST_RANK = 1024


def plain_number(text: str) -> float | None:
    """The number that a text is, also NaN or infinite; None if it is none.

    Python's own reading takes 1_0 for ten, and the digits of any script.
    """
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def read_rows(path: Path, what: str, required: Sequence[str]) -> list[Row]:
    """The lines of a CSV file below its header.

    Raises:
        UserError: it cannot be read, lacks one of the `required` columns, has a line of another
            length, or is no table of `what` at all.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            missing = [name for name in required if name not in header]
            if missing:
                raise UserError(
                    f"{path}: is no table of {what}, column {missing[0]} is missing; "
                    f"needed are {', '.join(required)}"
                )
            rows = []
            for cells in reader:
                place = f"{path}:{reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise UserError(
                        f"{place}: has {len(cells)} cells, but the header has {len(header)}"
                    )
                rows.append(Row(place, dict(zip(header, cells, strict=True))))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file: {error}") from None
    if not rows:
        raise UserError(f"{path}: holds no run, only a header")
    return rows


class Row:
    """One line of a file: cells by their column's name. `place` is file and line."""

    def __init__(self, place: str, cells: dict[str, str]) -> None:
        self.place = place
        self._cells = cells

    def text(self, name: str) -> str:
        """The cell without blanks around it; empty if there is no such column."""
        return self._cells.get(name, "").strip()

    def number(self, name: str, default: float | None = None, most: float = MOST) -> float:
        """A number of at least 0; an empty cell is the `default`, if there is one."""
        text = self.text(name)
        return default if not text and default is not None else self._number(name, text, most)

    def positive(self, name: str, most: float = MOST) -> float:
        """A number above 0."""
        return self._above_zero(name, self.text(name), most)

    def count(self, name: str, most: float = MOST) -> int:
        """A whole number above 0."""
        return self._count(name, self.text(name), most)

    def index(self, name: str) -> int:
        """A whole number of at least 0."""
        value = self.number(name)
        if not value.is_integer():
            raise self.wrong(name, "must be a whole number of at least 0", self.text(name))
        return int(value)

    def positives(self, name: str, most: float = MOST) -> tuple[float, ...]:
        """Numbers above 0, joined by `|`."""
        return tuple(self._above_zero(name, part, most) for part in self._parts(name))

    def counts(self, name: str, most: float = MOST) -> tuple[int, ...]:
        """Whole numbers above 0, joined by `|`."""
        return tuple(self._count(name, part, most) for part in self._parts(name))

    def wrong(self, name: str, must: str, text: str) -> UserError:
        """The error of a cell that is not what it `must` be."""
        number = plain_number(text)
        told = given(text) if number is None or not math.isfinite(number) else given(text)[1:-1]
        return UserError(f"{self.place}: {name}: {must}, not {told}")

    def _parts(self, name: str) -> list[str]:
        return [part.strip() for part in self.text(name).split("|")]

    def _count(self, name: str, text: str, most: float) -> int:
        value = self._number(name, text, most)
        if value < 1 or not value.is_integer():
            raise self.wrong(name, "must be a whole number above 0", text)
        return int(value)

    def _above_zero(self, name: str, text: str, most: float) -> float:
        value = plain_number(text)
        if value is not None and value <= 0:
            raise self.wrong(name, "must be above 0", text)
        return self._number(name, text, most)

    def _number(self, name: str, text: str, most: float) -> float:
        value = plain_number(text)
        if value is None or not math.isfinite(value):
            raise self.wrong(name, "must be a number", text)
        if value < 0:
            raise self.wrong(name, "must not be negative", text)
        if value > most:
            raise self.wrong(name, f"must be at most {most:.15g}", text)
        if 0 < value < LEAST:
            raise self.wrong(name, f"must be 0 or at least {LEAST:g}", text)
        return value
