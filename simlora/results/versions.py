"""The `versions` of a summary: how each version of a group's adapters fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.results.arrays import Bools, Indexes
from simlora.results.columns import RequestColumns
from simlora.results.statistics import EXACT_VALUES, Distribution
from simlora.results.tiers import PERCENTILES, STATUSES
from simlora.scenario.versions import STABLE
from simlora.serving.request import SOURCE_HOT, SOURCE_NONE
from simlora.serving.versions import VersionFacts

if TYPE_CHECKING:
    from simlora.scenario.deployment import Deployment

METRICS = ("ttft_s", "tpot_s", "e2e_s")


class VersionStatistics:
    """Counts and latencies of requests that arrived after the warm-up, by version of the adapter
    that they were assigned; of groups with a rollout.

    A cell is a group and a version: of the n-th group with a rollout, 2 n is the stable one and
    2 n + 1 the candidate. `cell_of` gives an adapter's, -1 for one without versions.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._groups = deployment.scenario.tenants
        self._rollouts = [i for i, g in enumerate(self._groups) if g.rollout is not None]
        cells = 2 * len(self._rollouts)
        number = {group: n for n, group in enumerate(self._rollouts)}
        # The last entry is that of -1, the base model.
        self.cell_of: Indexes = np.full(len(deployment.adapters) + 1, -1, dtype=np.int32)
        for stable, candidate in deployment.candidates.items():
            group = deployment.tenants[deployment.adapters[stable].tenant].group
            self.cell_of[[stable, candidate]] = 2 * number[group], 2 * number[group] + 1
        self._counts = {status: np.zeros(cells, dtype=np.int64) for status in STATUSES}
        self._lookups = np.zeros(cells, dtype=np.int64)
        self._hits = np.zeros(cells, dtype=np.int64)
        self._copies = np.zeros(cells, dtype=np.int64)  # among the requests counted
        self._distributions = {metric: [Distribution() for _ in range(cells)] for metric in METRICS}

    @property
    def any(self) -> bool:
        """Whether any group has a rollout."""
        return bool(self._rollouts)

    def add(self, columns: RequestColumns, measured: Bools, *, copies: bool = False) -> None:
        """Add the rows where `measured`; `copies`: they are what the candidates of shadow rollouts
        were sent."""
        cell = self.cell_of[columns.adapter]
        versioned = measured & (cell >= 0)
        for status, codes in STATUSES.items():
            self._counts[status] += self._count(cell, versioned & np.isin(columns.status, codes))
        source = columns.adapter_source
        self._lookups += self._count(cell, versioned & (source != SOURCE_NONE))
        self._hits += self._count(cell, versioned & (source == SOURCE_HOT))
        if copies:
            self._copies += self._count(cell, versioned)
        for metric, of_cells in self._distributions.items():
            values = getattr(columns, metric)
            rows = versioned & columns.completed & ~np.isnan(values)
            for index in np.unique(cell[rows]).tolist():
                of_cells[index].add(values[rows & (cell == index)])
            if sum(each.size for each in of_cells) > EXACT_VALUES:
                for each in of_cells:
                    each.fold()

    def names(self) -> list[str]:
        """Of each cell, the name of its version."""
        return [
            name
            for group in self._rollouts
            if (rollout := self._groups[group].rollout) is not None
            for name in (STABLE, rollout.candidate.name)
        ]

    def summary(self, facts: Sequence[VersionFacts]) -> dict[str, Any]:
        """By group: what became of its rollout, and the figures of both versions.

        `asked`, `assigned` and `share_assigned` (their ratio) are of the whole run, warm-up
        included; the figures of a version count requests that arrived after the warm-up. Those of
        the candidate of a `shadow` rollout are of copies, which are in no other part of a summary.
        """
        known = {fact.group: fact for fact in facts}
        return {
            self._groups[group].name: self._of_group(2 * number, group, known.get(group))
            for number, group in enumerate(self._rollouts)
        }

    def _of_group(self, cell: int, group: int, fact: VersionFacts | None) -> dict[str, Any]:
        rollout = self._groups[group].rollout
        assert rollout is not None
        fact = fact or VersionFacts(group, 0, 0)
        return {
            "mode": rollout.mode,
            "asked": fact.asked,
            "assigned": fact.assigned,
            "share_assigned": fact.assigned / fact.asked if fact.asked else None,
            "rolled_back_at_s": fact.rolled_back.at_s if fact.rolled_back else None,
            "rollback": asdict(fact.rolled_back) if fact.rolled_back else None,
            "promoted_at_s": fact.promoted_at_s,
            "switched_at_s": list(fact.switched_at_s),
            "versions": {
                STABLE: self._figures(cell),
                rollout.candidate.name: self._figures(cell + 1),
            },
        }

    def _figures(self, cell: int) -> dict[str, Any]:
        counts = {status: int(of_cells[cell]) for status, of_cells in self._counts.items()}
        lookups = int(self._lookups[cell])
        return {
            "requests": {"offered": sum(counts.values()), **counts},
            "copies": int(self._copies[cell]),
            "adapter_hit_ratio": int(self._hits[cell]) / lookups if lookups else None,
            **{
                metric: {
                    "mean": of_cells[cell].mean,
                    **{name: of_cells[cell].quantile(q) for name, q in PERCENTILES.items()},
                }
                for metric, of_cells in self._distributions.items()
            },
        }

    def _count(self, cell: Indexes, rows: Bools) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.bincount(cell[rows], minlength=len(self._lookups))
