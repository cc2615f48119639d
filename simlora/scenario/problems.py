"""A mistake in one field of a scenario, and how values and near misses are named in a sentence."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from simlora.errors import UserError

Path = tuple[str | int, ...]


class FieldError(UserError):
    """A mistake whose field is known; whoever knows the file adds name and line."""

    def __init__(self, field: Path, problem: str) -> None:
        super().__init__(f"{dotted(field)}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def dotted(path: Path) -> str:
    """The path as a user writes it: `fleet.0.gpu`."""
    return ".".join(str(part) for part in path)


def given(value: Any) -> str:
    """A short naming of what the user wrote, text in quotes."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def one_of(names: Iterable[str], limit: int = 14) -> str:
    """`a, b or c`; a long list is cut short."""
    known = list(names)
    if not known:
        return "none"
    if len(known) > limit:
        return ", ".join(known[:limit]) + f" … ({len(known)} in all)"
    if len(known) == 1:
        return known[0]
    return ", ".join(known[:-1]) + " or " + known[-1]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The names that begin like it, or else the nearest one, and all that are allowed."""
    known = list(names)
    letters = _letters(name)
    near = [other for other in known if letters and _letters(other).startswith(letters)][:3]
    near = near or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    allowed = f"allowed: {one_of(known)}"
    return f"did you mean {one_of(near)}? ({allowed})" if near else allowed


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
