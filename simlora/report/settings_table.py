"""The fields in which scenarios differ, and facts that several runs or variants may share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from simlora.report.table import table

_MOST = 40  # settings that differ; of more, the rest is only counted
_LONGEST = 60  # characters of a setting


def settings_table(scenarios: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """A row for each field that differs, by its dotted key, as HTML. `scenarios` are plain data."""
    flat = [dict(_dotted(scenario)) for scenario in scenarios]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if key != "name"]
    differing = [key for key in keys if len({one.get(key, "—") for one in flat}) > 1]
    rows = [
        (_breakable(key), *(escape(_short(one.get(key, "—"))) for one in flat))
        for key in differing[:_MOST]
    ]
    if not rows:
        return "<p>Nothing but their names.</p>"
    heads = ("setting", *map(escape, names))
    more = len(differing) - len(rows)
    rest = f"<p class=soft>{more} more settings differ.</p>" if more else ""
    return table("settings", heads, rows, "Settings that differ") + rest


def facts_table(facts: Sequence[Sequence[tuple[str, str]]], names: Sequence[str]) -> str:
    """Facts about each of `names`, as HTML: one row where all share a fact, else a row for each.
    They are plain text."""
    items = [dict(of_one) for of_one in facts]
    rows: list[tuple[str, str]] = []
    for key in dict.fromkeys(key for one in items for key in one):
        told = [one.get(key, "—") for one in items]
        if len(set(told)) == 1:
            rows.append((key, told[0]))
        else:
            rows += [(f"{key}, {name}", text) for name, text in zip(names, told, strict=True)]
    cells = [tuple(map(escape, row)) for row in rows]
    return table("provenance", ("what", "of these figures"), cells, "Provenance")


def _dotted(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Each leaf of plain data by its dotted key."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _dotted(inner, f"{above}.{key}" if above else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _dotted(inner, f"{above}.{index}")
    else:
        yield above, "none" if value is None else str(value)


def _breakable(key: str) -> str:
    """A dotted key as HTML that is broken behind a dot where there is no room for it."""
    return escape(key).replace(".", ".<wbr>")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
