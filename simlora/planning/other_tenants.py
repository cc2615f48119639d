"""The figures of a run's tenants without one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from simlora.results import files
from simlora.results.arrays import Floats, Ints
from simlora.results.result import Result
from simlora.results.statistics import EXACT_VALUES
from simlora.results.tenant_quantiles import TenantQuantiles
from simlora.scenario.deployment import Deployment

_COLUMNS = ["tenant", "status", "arrival_s", "ttft_s"]


@dataclass(frozen=True, slots=True)
class OtherTenants:
    """Figures of all others, then of each tier and of each tenant, as one array: requests that
    arrived after the warm-up, how many of them completed, and the p99 TTFT of these (NaN of none).
    """

    requests: Ints
    completed: Ints
    ttft_p99_s: Floats

    @property
    def all_requests(self) -> int:
        return int(self.requests[0])


def read_others(result: Result, deployment: Deployment, tenant: int) -> tuple[OtherTenants, int]:
    """The figures of all tenants but the one of that index, and how many requests that one made."""
    rows = pq.read_table(result.directory / files.REQUESTS, columns=_COLUMNS).unify_dictionaries()
    index = _codes(rows, "tenant", deployment.tenant_index)
    completed = _codes(rows, "status", {"completed": 1}) == 1
    measured = rows["arrival_s"].to_numpy() >= deployment.scenario.run.warmup_s
    asked = int((index == tenant).sum())
    others = measured & (index != tenant)
    index, completed, ttft_s = index[others], completed[others], rows["ttft_s"].to_numpy()[others]
    tier = np.fromiter((t.tier for t in deployment.tenants), np.int64, len(deployment.tenants))
    tiers, tenants = len(deployment.tiers), len(deployment.tenants)

    def counted(counts: Ints) -> Ints:
        of_tiers = np.bincount(tier, counts, tiers).astype(np.int64)
        return np.concatenate([[counts.sum()], of_tiers, counts])

    done, ttft_s = index[completed], ttft_s[completed]
    of_tenants = TenantQuantiles(tenants, EXACT_VALUES)
    of_tenants.add(done.astype(np.int32), ttft_s)
    (tenant_p99_s,) = of_tenants.quantiles((0.99,))
    tier_p99_s = [_p99(ttft_s[tier[done] == one]) for one in range(tiers)]
    figures = OtherTenants(
        requests=counted(np.bincount(index, minlength=tenants)),
        completed=counted(np.bincount(done, minlength=tenants)),
        ttft_p99_s=np.concatenate([[_p99(ttft_s)], tier_p99_s, tenant_p99_s]),
    )
    return figures, asked


def _codes(rows: pq.Table, column: str, known: dict[str, int]) -> Ints:
    """For each row the number of its name; -1 for a name that has none."""
    values = rows[column].combine_chunks()
    numbers = [known.get(name, -1) for name in values.dictionary.to_pylist()]
    return np.array(numbers, dtype=np.int64)[values.indices.to_numpy(zero_copy_only=False)]


def _p99(values: Floats) -> float:
    return float(np.quantile(values, 0.99)) if len(values) else np.nan
