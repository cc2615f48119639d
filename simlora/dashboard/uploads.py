"""Uploaded files under names that are safe to write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from simlora.errors import UserError


class Upload(Protocol):
    """A file as Streamlit hands it over."""

    name: str

    def getvalue(self) -> bytes: ...


def safe_name(name: str) -> str:
    """A file name that stays in its directory, and is none of those that begin with `_`, which are
    the dashboard's own. Its ending is in small letters, by which its kind is told."""
    stem, dot, ending = re.sub(r"[^\w.-]+", "_", Path(name).name).lstrip("._").partition(".")
    return stem + dot + ending.lower() or "file"


def files_of(uploads: Iterable[Upload]) -> dict[str, bytes]:
    """What is in the files, by their names. Raises UserError if two have the same one."""
    files: dict[str, bytes] = {}
    for one in uploads:
        name = safe_name(one.name)
        if name in files:
            raise UserError(f"{name}: is there twice; give the files names of their own")
        files[name] = one.getvalue()
    return files
