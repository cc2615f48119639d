"""Why requests were turned away or failed, tier by tier."""

from __future__ import annotations

from collections import Counter

import numpy as np

from simlora.results.arrays import Bools
from simlora.results.columns import RequestColumns
from simlora.serving.request import FAILED, REJECTED, STATUS_NAMES

Counts = dict[str, dict[str, int]]  # by status and reason
_ENDS = (REJECTED, FAILED)


class Reasons:
    """Counts rejected and failed requests by reason: of the whole run, and of each tier those that
    arrived after the warm-up."""

    def __init__(self, tiers: int) -> None:
        self._whole: Counter[tuple[int, str]] = Counter()
        self._of_tier: list[Counter[tuple[int, str]]] = [Counter() for _ in range(tiers)]

    def add(self, columns: RequestColumns, measured: Bools) -> None:
        """Add the rows; those `measured` count for their tier too."""
        for row in np.flatnonzero(np.isin(columns.status, _ENDS)):
            key = int(columns.status[row]), columns.reasons[row] or "unknown"
            self._whole[key] += 1
            if measured[row]:
                self._of_tier[columns.tier[row]][key] += 1

    def whole(self) -> Counts:
        """Of all requests of the run."""
        return _by_status(self._whole)

    def of_tier(self, tier: int) -> Counts:
        """Of the tier's requests that arrived after the warm-up."""
        return _by_status(self._of_tier[tier])


def _by_status(counted: Counter[tuple[int, str]]) -> Counts:
    return {
        STATUS_NAMES[end]: {
            reason: count for (status, reason), count in sorted(counted.items()) if status == end
        }
        for end in _ENDS
    }
