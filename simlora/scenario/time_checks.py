"""What must hold of times in a scenario: whatever begins, begins before the arrivals end."""

from __future__ import annotations

from simlora.scenario.problems import FieldError, Path
from simlora.scenario.schema import Scenario
from simlora.scenario.traffic import DEFAULT_DURATION_S


def check_before_end(scenario: Scenario, field: Path, time_s: float) -> None:
    """Raises FieldError for a time at or after the end of the arrivals, as far as that is known
    without reading a trace or drawing requests."""
    workload = scenario.workload
    end_s = workload.duration_s
    if end_s is None and workload.trace is None and workload.max_requests is None:
        end_s = DEFAULT_DURATION_S
    if end_s is not None and time_s >= end_s:
        raise FieldError(
            field, f"must be less than workload.duration_s ({end_s:g}), not {time_s:g}"
        )
