"""The timeline of a run, summed over the fleet, and what it tells about full queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlora.report.measured import from_outside
from simlora.results.result import Result

if TYPE_CHECKING:
    import pandas as pd

_FULL = 0.95
_LEAST_BACKLOG = 0.02  # of the requests that arrived


@dataclass(frozen=True, slots=True)
class Pressure:
    """`filled`: the most of a page pool that was taken. Then what was full while requests waited,
    weighted by how many waited (0 to 1), and how many waited when the last request arrived if the
    queue had grown until then (else 0)."""

    filled: float | None = None
    batch_full: float = 0.0
    kv_full: float = 0.0
    pool_full: float = 0.0
    backlog: int = 0


def fleet_gauges(result: Result) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Instants, for each column of the timeline its sum over replicas, and the run's span."""
    timeline = result.timeline
    times, instant = np.unique(timeline["time_s"].to_numpy(), return_inverse=True)
    columns = {
        name: np.bincount(instant, timeline[name].to_numpy(), len(times))
        for name in timeline.columns
        if name not in ("time_s", "replica")
    }
    if len(times) and from_outside(result.summary):
        columns |= _counted(result, times)
    return times, columns, float(result.summary["simulation"]["span_s"])


def _counted(result: Result, times: np.ndarray) -> dict[str, np.ndarray]:
    """What the timeline counts by replica, from the requests: a client knows no replicas."""
    requests = result.requests
    completed = requests[requests["status"] == "completed"]

    def between(at_s: pd.Series, weights: pd.Series | None = None) -> np.ndarray:
        instant = np.minimum(np.searchsorted(times, at_s.to_numpy()), len(times) - 1)
        return np.bincount(instant, weights, len(times))

    return {
        "arrived": between(requests["arrival_s"]),
        "completed": between(completed["finish_s"]),
        "output_tokens": between(completed["finish_s"], completed["output_tokens"]),
    }


def pool_gb(result: Result) -> dict[str, np.ndarray]:
    """What each owner holds of the page pools at each instant, in GB summed over replicas: the
    columns of pages. Replicas of different models have pages of different sizes."""
    timeline, memory = result.timeline, result.summary["memory"]
    of_replica = np.array(
        [each.get("page_bytes", memory["page_bytes"]) for each in memory["replicas"]], dtype=float
    )
    page_gb = of_replica[timeline["replica"].to_numpy(int)] / 1e9
    times, instant = np.unique(timeline["time_s"].to_numpy(), return_inverse=True)
    return {
        name: np.bincount(instant, timeline[name].to_numpy() * page_gb, len(times))
        for name in timeline.columns
        if name.endswith("_pages")
    }


def pressure(result: Result) -> Pressure:
    """What the timeline tells about the requests that waited."""
    timeline = result.timeline
    if not len(timeline):
        return Pressure()
    pools = np.array([memory["pool_pages"] for memory in result.summary["memory"]["replicas"]])
    pages = np.maximum(pools, 1)[timeline["replica"].to_numpy(int)]
    kv, adapters = timeline["kv_pages"].to_numpy(), timeline["adapter_pages"].to_numpy()
    running = timeline["running"].to_numpy()
    up = timeline["up"].to_numpy() if "up" in timeline else np.ones(len(timeline))
    taken = up - timeline["free_pages"].to_numpy() / pages  # no replica, no pool: nothing taken
    filled = float(np.max(taken))
    weights = timeline["waiting"].to_numpy(float)
    if not weights.sum():
        return Pressure(filled)
    max_running = result.summary["batch"]["max_num_seqs"]

    def share(full: np.ndarray) -> float:
        return float(np.average(full, weights=weights))

    return Pressure(
        filled=filled,
        batch_full=share(running >= max_running),
        kv_full=share(kv >= 0.8 * pages),
        pool_full=share(kv + adapters >= _FULL * pages),
        backlog=backlog(result),
    )


def backlog(result: Result) -> int:
    """How many waited when the last request arrived, if the queue had grown until then (else 0)."""
    if not len(result.timeline):
        return 0
    _, fleet, _ = fleet_gauges(result)
    arriving = np.flatnonzero(fleet["arrived"])
    if len(arriving) < 20:
        return 0
    end = int(arriving[-1]) + 1
    waiting = fleet["waiting"][:end]
    quarters = [part.mean() for part in np.array_split(waiting, 4)]
    grew = quarters[0] < quarters[1] < quarters[2] < quarters[3]
    last = int(waiting[-max(end // 50, 1) :].mean())
    return last if grew and last > _LEAST_BACKLOG * fleet["arrived"].sum() else 0
