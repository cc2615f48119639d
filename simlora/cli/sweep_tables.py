"""What `sweep` prints at its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.planning.sweep_work import FAILED, OK

if TYPE_CHECKING:
    import pandas as pd

    from simlora.planning.sweep import Ended
    from simlora.planning.sweep_best import Best
    from simlora.planning.sweep_grid import Sweep

_MOST_ERRORS = 5


def as_json(plan: Sweep, ended: Ended, table: pd.DataFrame) -> dict[str, Any]:
    """The counts of a sweep as plain values; `errors` are its sentences by how often they came."""
    statuses = table["status"] if len(table) else []
    failed = table[table["status"] == FAILED] if len(table) else table
    return {
        "points": len(plan),
        "rows": len(table),
        "ok": sum(status == OK for status in statuses),
        "failed": len(failed),
        "ran": ended.ran,
        "reused": ended.reused,
        "interrupted": ended.interrupted,
        "table": str(ended.table),
        "errors": {
            str(error): int(count) for error, count in failed["error"].value_counts().items()
        }
        if len(failed)
        else {},
    }


def best_as_json(found: Sequence[Best]) -> list[dict[str, Any]]:
    """The best points as plain values."""
    return [
        {
            "figure": best.figure,
            "best": "highest" if best.highest else "lowest",
            "value": best.value,
            "settings": dict(best.settings),
        }
        for best in found
    ]


def counts(told: dict[str, Any]) -> str:
    """How many points there are and what became of them, in words."""
    rows = f"{told['rows']:,} of {told['points']:,} points"
    parts = [rows if told["rows"] < told["points"] else f"{told['points']:,} points"]
    if told["failed"]:
        parts.append(f"{told['failed']:,} failed")
    if told["reused"]:
        parts.append(f"{told['reused']:,} were there already")
    return ", ".join(parts)


def sweep_tables(told: dict[str, Any]) -> RenderableType:
    """The counts, the commonest errors, and the best points."""
    parts: list[RenderableType] = [Text(counts(told))]
    errors = list(told["errors"].items())
    parts += [Text(f"{count:,} failed: {error}") for error, count in errors[:_MOST_ERRORS]]
    if len(errors) > _MOST_ERRORS:
        parts.append(Text(f"and {len(errors) - _MOST_ERRORS:,} other errors, see the table"))
    if told["best"]:
        table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
        table.add_column("figure", overflow="fold")
        table.add_column("best", justify="right")
        table.add_column("at", overflow="fold")
        for best in told["best"]:
            value = "none fits" if best["value"] is None else f"{best['value']:.5g}"
            settings = (f"{key}={_told(value)}" for key, value in best["settings"].items())
            table.add_row(f"{best['figure']} ({best['best']})", value, ", ".join(settings))
        parts += [Text(""), table]
    return Group(*parts)


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
