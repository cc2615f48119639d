"""A decision log as a file, and where two of them part."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from simlora.errors import UserError
from simlora.results.decisions import Line


def as_text(line: Line) -> str:
    """A line of the file, without its end."""
    return json.dumps(line, separators=(",", ":"))


@contextmanager
def writing_decisions(path: Path) -> Iterator[Callable[[Iterable[Line]], None]]:
    """A new file, and what appends lines to it."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda lines: file.writelines(as_text(line) + "\n" for line in lines)


def read_decisions(path: Path) -> Iterator[Line]:
    """The lines of a file, one by one. Raises UserError if it is not such a file."""
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                number += 1
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("no object")
                yield line
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}:{number}: is no line of a decision log") from None


def first_difference(
    left: Iterable[Line], right: Iterable[Line], *, with_times: bool = False
) -> tuple[int, Line | None, Line | None] | None:
    """The number (from 1) of the first line in which two logs differ, and both lines, None where
    a log has ended; None if there is no such line. Times are compared only if asked for."""
    others = iter(right)
    number = 0
    for number, line in enumerate(left, 1):
        other = next(others, None)
        if other is None or not _alike(line, other, with_times):
            return number, line, other
    extra = next(others, None)
    return None if extra is None else (number + 1, None, extra)


def _alike(left: Line, right: Line, with_times: bool) -> bool:
    if with_times:
        return left == right
    return {**left, "time_s": None} == {**right, "time_s": None}
