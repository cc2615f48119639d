"""The requests of a run as arrays over time, read from `requests.parquet` column by column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.report.moments import is_marked
from simlora.report.requests import read_requests
from simlora.results.arrays import Floats, Ints
from simlora.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "arrival_s",
    "ttft_s",
    "finish_s",
    "preemptions",
    "tenant",
    "tier",
    "status",
    "reason",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One row a request, warm-up included. `tenant` indexes `tenant_names`, `tier` indexes
    `tier_names`, `cause` indexes `causes`, pairs of status and reason (-1: neither rejected nor
    failed). `ttft_s` and `finish_s` are NaN where they never came."""

    arrival_s: Floats
    ttft_s: Floats
    finish_s: Floats
    preemptions: Ints
    tenant: Ints
    tenant_names: list[str]
    tier: Ints
    tier_names: list[str]
    cause: Ints
    causes: list[tuple[str, str]]

    @property
    def first_token_or_end_s(self) -> Floats:
        """When a request ceased to wait for its first token: infinite if it never did."""
        at_s = np.where(np.isnan(self.ttft_s), self.finish_s, self.arrival_s + self.ttft_s)
        return np.where(np.isnan(at_s), np.inf, at_s)


def told_over_time(result: Result) -> bool:
    """Whether a report tells of requests over time: something happened, versions were rolled out,
    the fleet changed, some were turned away or failed, or there are several tiers."""
    summary = result.summary
    asking = sum(tier["requests"]["offered"] > 0 for tier in summary["tiers"].values())
    requests = summary["requests"]
    refused = requests["rejected"] + requests["failed"] > 0
    return asking > 1 or refused or is_marked(summary) or fleet_changes(summary)


def fleet_changes(summary: dict[str, Any]) -> bool:
    """Whether replicas came or went, or might have."""
    pools = summary["simulation"]["fleet"]
    return "replicas_up" in summary or any("min_replicas" in pool for pool in pools)


def read_asked(result: Result) -> Asked:
    """Raises UserError if the table cannot be read."""
    frame = read_requests(result, _COLUMNS)
    tenant, tenant_names = _codes(frame["tenant"])
    tier, tier_names = _codes(frame["tier"])
    status, statuses = _codes(frame["status"])
    reason, reasons = _codes(frame["reason"])
    ended = np.isin(status, [statuses.index(s) for s in ("rejected", "failed") if s in statuses])
    pair = np.where(ended, status * (len(reasons) + 1) + reason + 1, -1)
    pairs = [int(code) for code in np.unique(pair) if code >= 0]
    named = ["unknown", *reasons]
    return Asked(
        frame["arrival_s"].to_numpy(float),
        frame["ttft_s"].to_numpy(float),
        frame["finish_s"].to_numpy(float),
        frame["preemptions"].to_numpy(np.int64),
        tenant,
        tenant_names,
        tier,
        tier_names,
        np.where(pair < 0, -1, np.searchsorted(pairs, pair)),
        [(statuses[code // len(named)], named[code % len(named)]) for code in pairs],
    )


def _codes(column: pd.Series) -> tuple[Ints, list[str]]:
    categories = column.astype("category").cat
    return categories.codes.to_numpy(np.int64), [str(name) for name in categories.categories]
