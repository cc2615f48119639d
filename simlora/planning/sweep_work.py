"""Running one point of a sweep, wherever a worker is."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from simlora import __version__
from simlora.errors import UserError
from simlora.planning.sweep_identity import check_same
from simlora.scenario.schema import Scenario

OK, FAILED = "ok", "failed"

# They say how the run went, not what it found, and no two runs agree on the first two.
_OF_THE_RUN = {"simulation.wall_s", "simulation.requests_per_wall_s", "simulation.interrupted"}
_KNOWN = {"name", "simulation.seed"}  # a row has them in columns of its own


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a point. `figures` is its `summary.json` with dotted keys.

    `lasting`: the same run would end the same way again. It does not where the machine was at
    fault; such a point is run again when its sweep is resumed.
    """

    status: str
    error: str | None = None
    lasting: bool = True
    wall_s: float | None = None
    version: str = __version__
    profile: str | None = None
    timing_hash: str | None = None
    host: str = field(default_factory=platform.node)
    started_at: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


class Interrupted(Exception):
    """The worker was asked to end before the point was done."""


def run_point(scenario: Scenario, expected: str) -> Record:
    """Simulate a point whose identity is `expected`; whatever goes wrong in it is in the record.

    Raises UserError if this machine would run something else, and Interrupted.
    """
    check_same(scenario, expected)
    from simlora.sim import simulate

    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    started_s = time.perf_counter()
    try:
        summary = simulate(scenario).summary
    except Exception as error:
        of_scenario = isinstance(error, UserError)
        return Record(
            FAILED,
            error=str(error) if of_scenario else f"{type(error).__name__}: {error}",
            lasting=of_scenario,
            wall_s=time.perf_counter() - started_s,
            started_at=started_at,
        )
    if summary["simulation"]["interrupted"]:
        raise Interrupted
    timing = summary["simulation"]["timing"]
    return Record(
        OK,
        wall_s=time.perf_counter() - started_s,
        profile=timing["profile"],
        timing_hash=timing["hash"],
        started_at=started_at,
        figures=flatten(summary),
    )


def flatten(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a summary by dotted key; a list is one JSON text.

    >>> flatten({"latency": {"ttft_s": {"p50": 0.1}}, "memory": {"replicas": [{"pages": 3}]}})
    {'latency.ttft_s.p50': 0.1, 'memory.replicas': '[{"pages": 3}]'}
    """
    left_out = _OF_THE_RUN | _KNOWN
    return {key: value for key, value in _leaves(summary, "") if key not in left_out}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _leaves(entry, f"{key}.{name}" if key else name)
    elif isinstance(value, (list, tuple)):
        yield key, json.dumps(value, ensure_ascii=False)
    else:
        yield key, value
