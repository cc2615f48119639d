"""All that figures over time mark: what befell a run, and the course of its rollouts."""

from __future__ import annotations

from typing import Any

from simlora.report.happenings import Happening, happenings
from simlora.report.scenario_file import scenario_of
from simlora.results.result import Result

_ENDS = {"switch": "all switched", "ab": "A/B ended", "shadow": "shadow ended"}


def moments(result: Result) -> list[Happening]:
    """By the time at which they began. A rollout lasts from its start until it is rolled back,
    promoted, or all tenants have switched, which is a moment of its own."""
    befell = happenings(result.summary, result.timeline)
    return sorted([*befell, *_rollouts(result)], key=lambda happening: happening.at_s)


def is_marked(summary: dict[str, Any]) -> bool:
    """Whether there is something to mark."""
    entries = (summary.get("versions") or {}).values()
    return any(entry["mode"] != "pinned" for entry in entries) or bool(happenings(summary))


def _rollouts(result: Result) -> list[Happening]:
    entries = {
        group: entry
        for group, entry in (result.summary.get("versions") or {}).items()
        if entry["mode"] != "pinned"
    }
    if not entries:
        return []
    asked = {group["name"]: group for group in scenario_of(result).get("tenants") or ()}
    span_s = float(result.summary["simulation"]["span_s"])
    found: list[Happening] = []
    for group, entry in entries.items():
        found += _course(group, entry, asked.get(group) or {}, span_s)
    return [happening for happening in found if happening.at_s < span_s]


def _course(
    group: str, entry: dict[str, Any], asked: dict[str, Any], span_s: float
) -> list[Happening]:
    """A rollout, and its end if it had one. The summary does not tell when one was to start and to
    end: a run whose scenario is gone shows what it tells."""
    rollout = asked.get("rollout") or {}
    start_s = rollout.get("start_s")
    end_s, how = _end(entry, rollout, asked.get("count"))
    switched = entry["switched_at_s"]
    if start_s is None and switched:
        start_s = switched[0]
    found = []
    if start_s is not None:
        until_s = span_s if end_s is None else min(end_s, span_s)
        name, lasts_s = f"{entry['mode']}: {group}", max(until_s - start_s, 0.0)
        found.append(Happening(name, f"the rollout of {group} began", start_s, lasts_s))
    if end_s is not None:
        found.append(Happening(f"{how}: {group}", f"the rollout of {group} ended", end_s, 0.0))
    return found


def _end(
    entry: dict[str, Any], rollout: dict[str, Any], count: int | None
) -> tuple[float | None, str]:
    """When a rollout ended, if it did, and how."""
    if entry["rollback"] is not None:
        return entry["rollback"]["at_s"], "rolled back"
    if entry["promoted_at_s"] is not None:
        return entry["promoted_at_s"], "promoted"
    switched = entry["switched_at_s"]
    if entry["mode"] == "switch":
        done = bool(switched) and count in (None, len(switched))
        return (switched[-1] if done else None), _ENDS["switch"]
    return rollout.get("end_s"), _ENDS.get(entry["mode"], "ended")
