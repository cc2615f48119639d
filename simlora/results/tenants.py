"""What each tenant asked for, got and costs: `tenants.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simlora.results.arrays import Bools, Floats, Indexes, Ints
from simlora.results.arrow import coded, numbers, strings
from simlora.results.columns import RequestColumns
from simlora.results.fairness import weighted_tokens
from simlora.results.statistics import EXACT_VALUES
from simlora.results.tenant_quantiles import TenantQuantiles
from simlora.results.tiers import STATUSES
from simlora.serving.request import SOURCE_HOT, SOURCE_NONE

if TYPE_CHECKING:
    from simlora.scenario.deployment import Tenant


class TenantStatistics:
    """Counts of the whole run, and latencies of completed requests that arrived after the
    warm-up. All arrays are by tenant index.

    `prompt_tokens` and `output_tokens` are those processed: a request that was cut or failed
    counts its prompt once it had a first token, and the tokens it had emitted. `asked_tokens` are
    the weighted tokens of all requests, served or not (see `weighted_tokens`).
    """

    def __init__(self, tenants: int) -> None:
        self._tenants = tenants
        self._counts = {status: self._zeros() for status in STATUSES}
        self.prompt_tokens, self.output_tokens = self._zeros(), self._zeros()
        self.asked_tokens = self._zeros()
        self._lookups, self._hits = self._zeros(), self._zeros()
        self._measured, self._judged, self._kept = self._zeros(), self._zeros(), self._zeros()
        self._ttft_sum, self._tpot_sum = np.zeros(tenants), np.zeros(tenants)
        self._ttft_count, self._tpot_count = self._zeros(), self._zeros()
        self._latency_per_token_sum = np.zeros(tenants)
        self._longest_wait_s = np.full(tenants, -1.0)  # -1: no request yet
        self._ttft = TenantQuantiles(tenants, EXACT_VALUES)
        self._e2e = TenantQuantiles(tenants, EXACT_VALUES)

    @property
    def relative_error(self) -> float:
        """Of a quantile; 0 while all values are kept."""
        return max(self._ttft.relative_error, self._e2e.relative_error)

    @property
    def service_tokens(self) -> Ints:
        """Processed tokens, weighted."""
        served: Ints = weighted_tokens(self.prompt_tokens, self.output_tokens)
        return served

    @property
    def served_share(self) -> Floats:
        """Of the weighted tokens that were asked for, those processed; NaN if none were."""
        return _ratio(self.service_tokens, self.asked_tokens)

    @property
    def normalized_latency_s(self) -> Floats:
        """Mean over completed requests of E2E per output token; NaN of none."""
        return _ratio(self._latency_per_token_sum, self._ttft_count)

    @property
    def longest_wait_s(self) -> Floats:
        """The longest `queue_s + adapter_wait_s` of a request that arrived after the warm-up and
        whatever became of it, unfinished ones as far as they came; NaN without one."""
        return np.where(self._longest_wait_s < 0, np.nan, self._longest_wait_s)

    def add(self, columns: RequestColumns, measured: Bools, kept: Bools) -> None:
        """Add all rows; `measured`: arrived after the warm-up, `kept`: within every promise."""
        for status, codes in STATUSES.items():
            self._counts[status] += self._count(columns, np.isin(columns.status, codes))
        completed = columns.completed
        prompted = completed | ~np.isnan(columns.first_token_s)
        emitted = np.where(completed, columns.output_tokens, columns.emitted_tokens)
        self.prompt_tokens += self._sum(columns, columns.prompt_tokens * prompted)
        self.output_tokens += self._sum(columns, emitted)
        asked = weighted_tokens(columns.prompt_tokens, columns.output_tokens.astype(np.int64))
        self.asked_tokens += self._sum(columns, asked)
        looked_up = columns.adapter_source != SOURCE_NONE
        self._lookups += self._count(columns, looked_up)
        self._hits += self._count(columns, columns.adapter_source == SOURCE_HOT)

        waits_s = columns.queue_s + columns.adapter_wait_s
        np.maximum.at(self._longest_wait_s, columns.tenant[measured], waits_s[measured])
        self._measured += self._count(columns, measured)
        ended = measured & ~np.isin(columns.status, STATUSES["unfinished"])
        self._judged += self._count(columns, ended)
        self._kept += self._count(columns, ended & kept)
        measured = measured & completed
        tenant, ttft_s = columns.tenant[measured], columns.ttft_s[measured]
        self._ttft_sum += np.bincount(tenant, ttft_s, self._tenants)
        self._ttft_count += np.bincount(tenant, minlength=self._tenants)
        self._ttft.add(tenant, ttft_s)
        e2e_s = columns.e2e_s[measured]
        self._e2e.add(tenant, e2e_s)
        self._latency_per_token_sum += np.bincount(
            tenant, e2e_s / columns.output_tokens[measured], self._tenants
        )
        has_tpot = measured & ~np.isnan(columns.tpot_s)
        self._tpot_sum += np.bincount(
            columns.tenant[has_tpot], columns.tpot_s[has_tpot], self._tenants
        )
        self._tpot_count += self._count(columns, has_tpot)

    def add_overdue(self, tenant: Indexes) -> None:
        """Unfinished requests of these tenants that have already broken a promise."""
        self._judged += np.bincount(tenant, minlength=self._tenants)

    def write(
        self,
        path: Path,
        tenants: Sequence[Tenant],
        tier: Ints,
        tier_names: Sequence[str],
        promised: Bools,
        window_s: float,
        cost_usd: Floats,
        usage: Mapping[str, Any],
        by_pool: Mapping[str, Floats],
    ) -> None:
        """One row a tenant. `tier` is by tenant. `promised`: by tier, whether it promises any bound
        (no attainment is told where it does not, nor where most requests were too young at the end
        to be judged). `goodput_rps` is over the `window_s` after the warm-up; `cost_usd`, by
        tenant, adds up to the fleet's bill. `usage` are further columns, `by_pool` such with a list
        of figures, one a pool, for each tenant."""
        ttft_p50, ttft_p95, ttft_p99 = self._ttft.quantiles((0.5, 0.95, 0.99))
        (e2e_p99,) = self._e2e.quantiles((0.99,))
        attainment = _ratio(self._kept, self._judged)
        attainment[~promised[tier] | (2 * self._judged < self._measured)] = np.nan
        columns: dict[str, Any] = {
            "offered": sum(self._counts.values()),
            **self._counts,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "service_tokens": self.service_tokens,
            "longest_wait_s": self.longest_wait_s,
            "ttft_mean_s": _ratio(self._ttft_sum, self._ttft_count),
            "ttft_p50_s": ttft_p50,
            "ttft_p95_s": ttft_p95,
            "ttft_p99_s": ttft_p99,
            "tpot_mean_s": _ratio(self._tpot_sum, self._tpot_count),
            "e2e_p99_s": e2e_p99,
            "adapter_hit_ratio": _ratio(self._hits, self._lookups),
            "sla_attainment": attainment,
            "goodput_rps": self._kept / window_s if window_s else np.full(len(tier), np.nan),
            "cost_usd": cost_usd,
            **usage,
        }
        table = pa.table(
            {
                "tenant": strings([tenant.name for tenant in tenants]),
                "tier": coded(tier, strings(tier_names)),
                **{name: numbers(values, np.isnan(values)) for name, values in columns.items()},
                **{
                    name: pa.FixedSizeListArray.from_arrays(numbers(rows.ravel()), rows.shape[1])
                    for name, rows in by_pool.items()
                },
            }
        )
        pq.write_table(table, path, compression="snappy")

    def _zeros(self) -> Ints:
        return np.zeros(self._tenants, dtype=np.int64)

    def _count(self, columns: RequestColumns, rows: Bools) -> Ints:
        return np.bincount(columns.tenant[rows], minlength=self._tenants)

    def _sum(self, columns: RequestColumns, values: Any) -> Ints:
        return np.bincount(columns.tenant, values, self._tenants).astype(np.int64)


def _ratio(part: Any, whole: Ints) -> Floats:
    """`part / whole`, NaN where `whole` is 0."""
    ratio: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return ratio
