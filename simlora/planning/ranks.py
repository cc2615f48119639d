"""Hit ratios of busy and of quiet tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlora.results.files import REQUESTS
from simlora.results.result import Result

if TYPE_CHECKING:
    from simlora.planning.compare import Comparison

Hits = tuple[int, int]  # lookups of adapters, and those that found it in GPU memory


@dataclass(frozen=True, slots=True)
class RankBucket:
    """Tenants of the ranks `first` to `last`: the one with the most requests has rank 1.

    `lookups` and `hits` are sums over the replications.
    """

    first: int
    last: int
    lookups: int
    hits: int

    @property
    def hit_ratio(self) -> float | None:
        """Hits per lookup (None without any)."""
        return self.hits / self.lookups if self.lookups else None


def rank_bounds(tenants: int) -> list[tuple[int, int]]:
    """First and last rank of each bucket; each ends at a power of two, so that they are even on a
    logarithmic axis.

    >>> rank_bounds(10)
    [(1, 1), (2, 2), (3, 4), (5, 8), (9, 10)]
    """
    lasts = [2**power for power in range(max(tenants - 1, 0).bit_length() + 1)]
    firsts = [1, *(last + 1 for last in lasts)]
    return [
        (first, min(last, tenants))
        for first, last in zip(firsts, lasts, strict=False)
        if first <= tenants
    ]


def hits_by_rank(result: Result) -> tuple[Hits, ...]:
    """Lookups and hits by bucket of ranks, one bucket for each of `rank_bounds`. All requests of
    the run that looked an adapter up count, those of the warm-up too; of tenants with equally many
    requests the first has the better rank."""
    import pandas as pd

    tenants = result.tenants
    offered = tenants["offered"].to_numpy()
    ranked = tenants["tenant"].to_numpy()[np.argsort(-offered, kind="stable")]
    columns = ["tenant", "adapter_source"]
    requests = pd.read_parquet(result.directory / REQUESTS, columns=columns)
    looked_up = requests[requests["adapter_source"] != "none"]
    hot = looked_up[looked_up["adapter_source"] == "hot"]
    lookups, hits = (
        rows["tenant"].value_counts().reindex(ranked, fill_value=0).to_numpy()
        for rows in (looked_up, hot)
    )
    return tuple(
        (int(lookups[first - 1 : last].sum()), int(hits[first - 1 : last].sum()))
        for first, last in rank_bounds(len(ranked))
    )


def buckets_by_rank(compared: Comparison) -> dict[str, list[RankBucket]]:
    """The buckets of each variant over the replications that count; none at all where they tell no
    variants apart: nobody asks for an adapter, or every variant has the same hits."""
    counted = [run for run in compared.runs if run.seed in compared.seeds]
    found = {}
    for variant in compared.variants:
        runs = [run.by_rank for run in counted if run.variant == variant.name]
        bounds = rank_bounds(sum(group.count for group in variant.scenario.tenants))
        found[variant.name] = [
            RankBucket(first, last, *_summed([run[place] for run in runs if run]))
            for place, (first, last) in enumerate(bounds)
        ]
    first_one = found[compared.baseline]
    if all(buckets == first_one for buckets in found.values()):
        return {}
    return found


def _summed(hits: Sequence[Hits]) -> Hits:
    return sum(lookups for lookups, _ in hits), sum(found for _, found in hits)
