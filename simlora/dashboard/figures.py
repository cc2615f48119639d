"""From a result to what the pages show of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simlora.dashboard.run_figures import RunFigures
from simlora.errors import UserError
from simlora.report.gauges import fleet_gauges, pool_gb
from simlora.report.lead import lead
from simlora.report.limits import limits_of
from simlora.report.requests import read_requests
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario

if TYPE_CHECKING:
    import pandas as pd

POINTS = 150  # of a line over time
_BINS, _REQUESTS_A_BIN = 40, 20  # of percentiles over time
_OWNERS = ("adapter_pages", "kv_pages", "prefix_pages", "free_pages")
_GAUGES = ("running", "waiting", "adapter_gb", "kv_gb", "prefix_gb", "free_gb", "cold_per_s")
_TENANT_COLUMNS = (
    "tenant",
    "tier",
    "offered",
    "completed",
    "ttft_p99_s",
    "adapter_hit_ratio",
    "sla_attainment",
    "cost_usd",
)
_REQUEST_COLUMNS = [
    "adapter",
    "tier",
    "status",
    "adapter_source",
    "replica",
    "arrival_s",
    "prefill_s",
    "decode_s",
    "preempted_s",
    "ttft_s",
    "finish_s",
]


def figures_of(result: Result) -> RunFigures:
    """The figures of a result. Raises UserError if a table cannot be read."""
    requests = read_requests(result, _REQUEST_COLUMNS)
    words = (*lead(result.summary, result.timeline), *limits_of(result))
    tenants = result.tenants
    known = [name for name in _TENANT_COLUMNS if name in tenants.columns]
    return RunFigures(
        result.summary,
        words,
        _gauges(result),
        _ttft(requests, float(result.summary["simulation"]["span_s"])),
        tenants[known],
        _adapters(result, requests),
    )


def _gauges(result: Result) -> pd.DataFrame:
    import pandas as pd

    times, fleet, span_s = fleet_gauges(result)
    held_gb = pool_gb(result)
    if not len(times):
        return pd.DataFrame(columns=["time_s", *_GAUGES], dtype=float)
    starts = np.unique(
        np.linspace(0, len(times), min(POINTS, len(times)), endpoint=False).astype(int)
    )
    counts = np.diff(starts, append=len(times))
    ends_s = np.append(times[starts[1:]], span_s)
    missed = np.add.reduceat(fleet["adapter_lookups"] - fleet["adapter_hits"], starts)
    means = {name: fleet[name] for name in ("running", "waiting")} | {
        name.replace("_pages", "_gb"): held_gb[name] for name in _OWNERS
    }
    return pd.DataFrame(
        {
            "time_s": times[starts],
            **{name: np.add.reduceat(each, starts) / counts for name, each in means.items()},
            "cold_per_s": missed / np.maximum(ends_s - times[starts], 1e-9),
        }
    )


def _ttft(requests: pd.DataFrame, span_s: float) -> pd.DataFrame:
    import pandas as pd

    served = requests[requests["ttft_s"].notna()]
    parts = []
    for tier, rows in served.groupby("tier", observed=True):
        bins = int(np.clip(len(rows) // _REQUESTS_A_BIN, 1, _BINS))
        width_s = max(span_s, 1e-9) / bins
        place = np.minimum((rows["arrival_s"] / width_s).astype(int), bins - 1)
        found = rows.groupby(place)["ttft_s"].quantile(0.99)
        parts.append(
            pd.DataFrame(
                {
                    "tier": str(tier),
                    "time_s": (found.index.to_numpy() + 0.5) * width_s,
                    "p99_s": found.to_numpy(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"tier": []})


def _adapters(result: Result, requests: pd.DataFrame) -> pd.DataFrame:
    """One row an adapter that was asked for."""
    import pandas as pd

    asked = requests[requests["adapter_source"] != "none"]
    of = asked.groupby("adapter", observed=True)
    table = pd.DataFrame(
        {
            "tier": of["tier"].first().astype(str),
            "requests": of.size(),
            "ttft_p99_s": of["ttft_s"].quantile(0.99),
        }
    )
    nbytes = _sizes(result)
    in_use_s = _seconds_in_use(asked).reindex(table.index).fillna(0.0)
    span_s = max(float(result.summary["simulation"]["span_s"]), 1e-9)
    sizes = pd.Series(nbytes, dtype=float).reindex(table.index)
    table["held_gb"] = sizes * in_use_s / span_s / 1e9
    table.index = table.index.astype(str)
    return table.rename_axis("adapter").reset_index()


def _sizes(result: Result) -> dict[str, int]:
    """Bytes of each adapter, by name; none where the scenario cannot be read any more."""
    try:
        deployment = expand(load_scenario(result.directory / RESOLVED_SCENARIO))
    except UserError:
        return {}
    return {adapter.name: adapter.nbytes for adapter in deployment.adapters}


def _seconds_in_use(requests: pd.DataFrame) -> pd.Series:
    """How long each adapter had a request in a batch, summed over replicas; times that overlap
    count once."""
    import pandas as pd

    served = requests[requests["finish_s"].notna() & (requests["decode_s"] >= 0)]
    end_s = served["finish_s"]
    begin_s = end_s - served["prefill_s"] - served["decode_s"] - served["preempted_s"]
    spans = pd.DataFrame(
        {
            "adapter": served["adapter"],
            "replica": served["replica"],
            "begin_s": begin_s,
            "end_s": end_s,
        }
    ).sort_values("begin_s")
    by = ["adapter", "replica"]
    covered_s = spans.groupby(by, observed=True)["end_s"].cummax()
    before_s = covered_s.groupby([spans["adapter"], spans["replica"]], observed=True).shift()
    new_s = spans["end_s"] - np.fmax(spans["begin_s"], before_s)
    return new_s.clip(lower=0.0).groupby(spans["adapter"], observed=True).sum()
