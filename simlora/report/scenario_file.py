"""The scenario that a run kept beside its tables."""

from __future__ import annotations

import hashlib
from typing import Any

from simlora.errors import UserError
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result
from simlora.scenario import yamltext


def scenario_of(result: Result) -> dict[str, Any]:
    """What `scenario.resolved.yaml` says; empty where there is none, or none that can be read: a
    report is of what a run left."""
    path = result.directory / RESOLVED_SCENARIO
    try:
        found, _ = yamltext.parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError, UserError):
        return {}
    return found if isinstance(found, dict) else {}


def asked_hash(text: str) -> str:
    """First digits of the SHA-256 of a resolved scenario, apart from the comments on top: two runs
    with the same one were asked the same."""
    lines = text.splitlines(keepends=True)
    asked = "".join(line for line in lines if not line.startswith("#"))
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
