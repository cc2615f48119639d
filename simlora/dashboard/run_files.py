"""Result directories on this server, and summaries that were uploaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simlora.dashboard.pages import RUNS
from simlora.errors import UserError
from simlora.results.files import SUMMARY
from simlora.results.result import Result
from simlora.results.wellformed import flaw

_MOST_RUNS = 500
_MOST_BYTES = 20_000_000


def run_directories(root: Path = RUNS) -> list[Path]:
    """Result directories in `root`, up to two folders deep, the newest first."""
    found = [place.parent for depth in ("*", "*/*") for place in root.glob(f"{depth}/{SUMMARY}")]
    found.sort(key=lambda place: -(place / SUMMARY).stat().st_mtime)
    return found[:_MOST_RUNS]


def told(directory: Path) -> str:
    """What a result directory is called on a page."""
    return str(directory.relative_to(RUNS))


def uploaded_result(name: str, raw: bytes) -> Result:
    """The result whose `summary.json` was uploaded; it has no tables. Raises UserError."""
    if len(raw) > _MOST_BYTES:
        raise UserError(f"{name}: is too large for the summary of a run")
    try:
        summary: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise UserError(
            f"{name}: is not JSON; give the summary.json of a result directory"
        ) from None
    key = flaw(summary)
    if key is not None:
        raise UserError(f"{name}: is not the summary of a run: {key} is missing or of another kind")
    return Result(Path(name), summary)
