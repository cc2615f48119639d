"""Counts and latency distributions, tier by tier."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simlora.results.arrays import Bools, Floats, Indexes, Ints
from simlora.results.columns import RequestColumns
from simlora.results.phases import PHASES
from simlora.results.statistics import EXACT_VALUES, Distribution
from simlora.serving.request import COMPLETED, FAILED, REJECTED, RUNNING, WAITING

REQUEST_METRICS = ("ttft_s", "tpot_s", "e2e_s", *PHASES)
METRICS = ("ttft_s", "tpot_s", "itl_s", "e2e_s", *PHASES)
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

STATUSES = {
    "completed": (COMPLETED,),
    "rejected": (REJECTED,),
    "failed": (FAILED,),
    "unfinished": (WAITING, RUNNING),
}


class TierStatistics:
    """Statistics of the requests of each tier that arrived after the warm-up.

    All arrays are by tier index. Latencies are of completed requests only.
    """

    def __init__(self, tiers: int) -> None:
        self.counts = {status: np.zeros(tiers, dtype=np.int64) for status in STATUSES}
        self.prompt_tokens = np.zeros(tiers, dtype=np.int64)  # of completed requests
        self.output_tokens = np.zeros(tiers, dtype=np.int64)
        # Output tokens of completed requests for an adapter, and those the base model gave instead.
        self.adapter_tokens = np.zeros(tiers, dtype=np.int64)
        self.fallback_tokens = np.zeros(tiers, dtype=np.int64)
        self.kept = np.zeros(tiers, dtype=np.int64)  # completed within every promised bound
        # Completed out of a bound, by bound.
        self.late = {
            bound: np.zeros(tiers, dtype=np.int64)
            for bound in ("ttft_p99_s", "tpot_p99_s", "e2e_p99_s")
        }
        # Unfinished and already out of a bound, by bound; availability: out of any.
        self.overdue = {
            bound: np.zeros(tiers, dtype=np.int64)
            for bound in ("ttft_p99_s", "e2e_p99_s", "availability")
        }
        self._tiers = tiers
        self._distributions = {metric: [Distribution() for _ in range(tiers)] for metric in METRICS}

    @property
    def exact(self) -> bool:
        return all(d.exact for of_tiers in self._distributions.values() for d in of_tiers)

    def distribution(self, metric: str, tier: int) -> Distribution:
        return self._distributions[metric][tier]

    def overall(self, metric: str) -> Distribution:
        """The distribution over all tiers."""
        whole = Distribution()
        for part in self._distributions[metric]:
            whole.merge(part)
        return whole

    def add(
        self, columns: RequestColumns, measured: Bools, kept: Bools, late: Mapping[str, Bools]
    ) -> None:
        """Add the rows where `measured`; `kept`: within every promise, `late`: by bound, completed
        out of it."""
        for status, codes in STATUSES.items():
            self.counts[status] += self._count(columns, measured & np.isin(columns.status, codes))
        self.kept += self._count(columns, measured & kept)
        for bound, rows in late.items():
            self.late[bound] += self._count(columns, measured & rows)

        completed = measured & columns.completed
        tier = columns.tier[completed]
        for total, tokens in (
            (self.prompt_tokens, columns.prompt_tokens),
            (self.output_tokens, columns.output_tokens),
        ):
            total += np.bincount(tier, tokens[completed], self._tiers).astype(np.int64)
        for total, rows in (
            (self.adapter_tokens, completed & (columns.adapter >= 0)),
            (self.fallback_tokens, completed & columns.base_fallback),
        ):
            tokens = columns.output_tokens[rows]
            total += np.bincount(columns.tier[rows], tokens, self._tiers).astype(np.int64)
        order = np.flatnonzero(completed)[np.argsort(tier, kind="stable")]
        bounds = np.cumsum(np.bincount(tier, minlength=self._tiers))[:-1]
        for metric in REQUEST_METRICS:
            of_tiers = np.split(getattr(columns, metric)[order], bounds)
            for index, values in enumerate(of_tiers):
                if metric == "tpot_s":
                    values = values[~np.isnan(values)]
                self._distributions[metric][index].add(values)
            self._fold_if_large(metric)

    def add_tokens(self, steps: list[tuple[Floats, Floats]]) -> None:
        """Add gaps between tokens: (seconds, number of tokens) for each tier."""
        for distribution, (seconds, tokens) in zip(
            self._distributions["itl_s"], steps, strict=True
        ):
            distribution.add(seconds, tokens)
        self._fold_if_large("itl_s")

    def slowest_s(self) -> Floats:
        """The longest E2E of a completed request, by tier; NaN where none completed."""
        return np.array([of_tier.quantile(1.0) for of_tier in self._distributions["e2e_s"]])

    def add_overdue(self, tier: Indexes, overdue: Mapping[str, Bools]) -> None:
        """Unfinished requests of these tiers, and by bound whether they have broken it."""
        for bound, rows in overdue.items():
            self.overdue[bound] += np.bincount(tier[rows], minlength=self._tiers)

    def _count(self, columns: RequestColumns, rows: Bools) -> Ints:
        return np.bincount(columns.tier[rows], minlength=self._tiers)

    def _fold_if_large(self, metric: str) -> None:
        """The tiers share one bound on the values kept."""
        of_tiers = self._distributions[metric]
        if sum(distribution.size for distribution in of_tiers) > EXACT_VALUES:
            for distribution in of_tiers:
                distribution.fold()
