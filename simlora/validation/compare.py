"""One prediction against one measurement, metric by metric: two result directories."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simlora.results.result import Result

_SECTIONS = ("requests", "throughput", "latency", "adapters", "batch")
# What depends on how a run was recorded, not on how the server behaved.
_SKIPPED = ("batch.steps", "batch.max_num_seqs", "batch.busy_s")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of `summary.json`, by its dotted name. `error` is relative to what was measured;
    None where that is 0, or nearly, or one of the figures is missing."""

    metric: str
    predicted: float | None
    measured: float | None

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured."""
        if self.predicted is None or not self.measured:
            return 0.0 if self.predicted == self.measured == 0 else None
        error = self.predicted / self.measured - 1
        return error if math.isfinite(error) else None


def compare_results(predicted: Result, measured: Result) -> list[Comparison]:
    """Every figure that either summary holds, in the order of the summary."""
    left, right = _figures(predicted.summary), _figures(measured.summary)
    return [Comparison(name, left.get(name), right.get(name)) for name in left | right]


def _figures(summary: dict[str, Any]) -> dict[str, float | None]:
    sections = {name: summary[name] for name in _SECTIONS if name in summary}
    return {name: value for name, value in _flat(sections) if name not in _SKIPPED}


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            known = value is not None and math.isfinite(value)
            yield f"{prefix}{name}", value if known else None
