"""Which requests kept what their tier promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from simlora.results.arrays import Bools, Floats, Indexes
from simlora.results.columns import RequestColumns

if TYPE_CHECKING:
    from simlora.scenario.schema import Tier


class Promises:
    """The tiers' bounds, by tier index; infinite where a tier promises nothing.

    A bound promised for the 99th percentile (`ttft_p99_s`) is asked of every single request here:
    attainment is the share of requests within every bound.
    """

    def __init__(self, tiers: Sequence[Tier]) -> None:
        self.ttft_s = _bounds([tier.sla.ttft_p99_s for tier in tiers])
        self.tpot_s = _bounds([tier.sla.tpot_p99_s for tier in tiers])
        self.e2e_s = _bounds([tier.sla.e2e_p99_s for tier in tiers])

    def late(self, columns: RequestColumns) -> dict[str, Bools]:
        """By promised bound, completed out of it. What never came (the TPOT of one token) breaks
        none."""
        tier, completed = columns.tier, columns.completed
        return {
            "ttft_p99_s": completed & (columns.ttft_s > self.ttft_s[tier]),
            "tpot_p99_s": completed & (columns.tpot_s > self.tpot_s[tier]),
            "e2e_p99_s": completed & (columns.e2e_s > self.e2e_s[tier]),
        }

    def overdue(
        self, tier: Indexes, age_s: Floats, has_first_token: Bools, slowest_s: Floats
    ) -> dict[str, Bools]:
        """Unfinished requests of that age that could have been answered, and were not in time.

        By promised bound those that have already broken it, and as `availability` those of any
        bound. Where a tier promises neither TTFT nor E2E, a request is late once it is older than
        the slowest completed request of the tier took (`slowest_s`, NaN: none completed).
        """
        timeless = np.isinf(self.ttft_s) & np.isinf(self.e2e_s)
        patience_s = np.where(timeless, slowest_s, math.inf)
        ttft = ~has_first_token & (age_s > self.ttft_s[tier])
        e2e = age_s > self.e2e_s[tier]
        late = ttft | e2e | (age_s > patience_s[tier])
        return {"ttft_p99_s": ttft, "e2e_p99_s": e2e, "availability": late}


def _bounds(promised: Sequence[float | None]) -> Floats:
    return np.array([math.inf if bound is None else bound for bound in promised])
