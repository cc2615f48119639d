"""Takes what happened from a driver, as it happens, and writes the result files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from simlora.results import files
from simlora.results.arrays import Bools, Floats, Indexes
from simlora.results.bill import shares_of_the_bill
from simlora.results.columns import RequestColumns, columnize
from simlora.results.reasons import Reasons
from simlora.results.requests_file import RequestsFile
from simlora.results.result import Result
from simlora.results.schema import RunFacts
from simlora.results.sla import Promises
from simlora.results.steplog import StepLog
from simlora.results.summary import Totals, build_summary, to_json
from simlora.results.tenants import TenantStatistics
from simlora.results.tiers import STATUSES, TierStatistics
from simlora.results.timeline import Timeline
from simlora.results.usage import TenantUsage
from simlora.results.versions import VersionStatistics
from simlora.serving.request import STATUS_NAMES, Request

if TYPE_CHECKING:
    from simlora.scenario.deployment import Deployment


class Recorder:
    """What a driver tells of a run, and the files it becomes.

    The driver appends every request that reached its end to `pending` and calls `flush` each time
    there are `FLUSH_REQUESTS` of them; it samples all replicas every `sample_interval_s`, first at
    0; at the end it appends what is unfinished and calls `close`. Requests that arrive before
    `warmup_s` are recorded, but counted in no latency.
    """

    FLUSH_REQUESTS = 65_536

    def __init__(self, deployment: Deployment, directory: Path, *, warmup_s: float) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pending: list[Request] = []
        self.steps: list[StepLog] = []
        self._deployment = deployment
        self._directory = directory
        self._warmup_s = warmup_s
        self._promises = Promises(deployment.tiers)
        self._totals = dict.fromkeys(STATUSES, 0)
        self._retries = 0
        self._tiers = TierStatistics(len(deployment.tiers))
        self._reasons = Reasons(len(deployment.tiers))
        self._tenants = TenantStatistics(len(deployment.tenants))
        self._usage = TenantUsage(deployment)
        self._versions = VersionStatistics(deployment)
        self._timeline = Timeline(sum(pool.replicas for pool in deployment.scenario.fleet))
        self._unfinished: list[_Unfinished] = []
        self._requests_file = RequestsFile(
            directory / files.REQUESTS,
            [tenant.name for tenant in deployment.tenants],
            [adapter.name for adapter in deployment.adapters],
            deployment.tier_names,
            self._versions if self._versions.any else None,
        )

    @property
    def sample_interval_s(self) -> float:
        """Seconds from one sample to the next; doubles when the timeline grows long."""
        return self._timeline.interval_s

    def add_replica(self) -> StepLog:
        """The step log of one more replica; they are numbered in this order."""
        self.steps.append(StepLog(len(self._deployment.tiers)))
        return self.steps[-1]

    def sample(
        self,
        time_s: float,
        replica: int,
        running: int,
        waiting: int,
        kv_pages: int,
        prefix_pages: int,
        adapter_pages: int,
        free_pages: int,
        hot_adapters: int,
        up: int = 1,
    ) -> None:
        """One replica's gauges at an instant; `up` is 1 while it serves requests. `kv_pages` are
        those of running requests, `prefix_pages` those that only the prefix cache holds on to."""
        self._timeline.sample(
            (
                time_s,
                replica,
                running,
                waiting,
                kv_pages,
                prefix_pages,
                adapter_pages,
                free_pages,
                hot_adapters,
                up,
            )
        )

    def flush(self) -> None:
        """Move `pending` to the statistics and, as one row group, to `requests.parquet`; empty the
        step logs. The lists are emptied in place."""
        if self.pending:
            self._add(columnize(self._asked_for()))
            self.pending.clear()
        for log in self.steps:
            self._tiers.add_tokens(log.drain())

    def close(self, facts: RunFacts, owner: TemporaryDirectory[str] | None = None) -> Result:
        """Write what is left and all other files. `owner` is the temporary directory that the
        result is to keep alive, if it lies in one."""
        self.flush()
        self._requests_file.close()
        slowest_s = self._tiers.slowest_s()
        for late in self._unfinished:
            overdue = self._promises.overdue(
                late.tier, facts.span_s - late.arrival_s, late.has_first_token, slowest_s
            )
            self._tiers.add_overdue(late.tier, overdue)
            self._tenants.add_overdue(late.tenant[overdue["availability"]])
        self._usage.close(self.steps)
        tenants = self._deployment.tenants
        tenant_tier = np.fromiter((tenant.tier for tenant in tenants), np.int64, len(tenants))
        self._tenants.write(
            self._directory / files.TENANTS,
            tenants,
            tenant_tier,
            self._deployment.tier_names,
            np.array([any(tier.sla.model_dump().values()) for tier in self._deployment.tiers]),
            max(facts.span_s - self._warmup_s, 0.0),
            shares_of_the_bill(self._deployment, facts.fleet, self._usage.sums),
            self._usage.columns(),
            self._usage.by_pool(),
        )
        self._timeline.write(self._directory / files.TIMELINE)
        summary = build_summary(
            self._deployment,
            facts,
            Totals(**self._totals),
            self._tiers,
            self._reasons,
            self._tenants,
            self._versions,
            tenant_tier,
            self._retries,
            self._timeline.replicas_up(),
            self._warmup_s,
        )
        path = self._directory / files.SUMMARY
        path.write_text(to_json(summary), encoding="utf-8", newline="\n")
        return Result(self._directory, summary, owner)

    def _asked_for(self) -> list[Request]:
        """`pending` without copies sent to versions on trial, which count for these alone."""
        if not self._versions.any:
            return self.pending
        copies = columnize([request for request in self.pending if request.shadow])
        self._versions.add(copies, copies.arrival_s >= self._warmup_s, copies=True)
        return [request for request in self.pending if not request.shadow]

    def _add(self, columns: RequestColumns) -> None:
        by_status = np.bincount(columns.status, minlength=len(STATUS_NAMES))
        for status, codes in STATUSES.items():
            self._totals[status] += int(by_status[list(codes)].sum())
        self._retries += int(columns.attempts.sum()) - len(columns)
        measured = columns.arrival_s >= self._warmup_s
        late = self._promises.late(columns)
        kept = columns.completed & ~np.logical_or.reduce(list(late.values()))
        self._tiers.add(columns, measured, kept, late)
        self._reasons.add(columns, measured)
        self._tenants.add(columns, measured, kept)
        self._usage.add(columns)
        if self._versions.any:
            self._versions.add(columns, measured)
        self._timeline.add(columns)
        self._requests_file.write(columns)
        unfinished = measured & np.isin(columns.status, STATUSES["unfinished"])
        if unfinished.any():
            self._unfinished.append(
                _Unfinished(
                    columns.tenant[unfinished],
                    columns.tier[unfinished],
                    columns.arrival_s[unfinished],
                    ~np.isnan(columns.first_token_s[unfinished]),
                )
            )


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """Unfinished requests, to be judged when the end of the run is known."""

    tenant: Indexes
    tier: Indexes
    arrival_s: Floats
    has_first_token: Bools
