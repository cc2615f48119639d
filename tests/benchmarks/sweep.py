"""A sweep's points per second on one process and on two, of loky and of dask: how much of the
second one is used.

The points are small runs (0.1 to 0.2 s), so that what a sweep itself costs would show: making and
naming points, sending them, one synced file each.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from simlora.planning.sweep import run_sweep
from simlora.planning.sweep_executors import Kind, open_executor
from simlora.planning.sweep_grid import Sweep, plan_sweep
from simlora.planning.sweep_store import Store

POINTS = 200
EXECUTORS: tuple[tuple[Kind, int], ...] = (("local", 1), ("local", 2), ("dask", 2))

SCENARIO = """\
name: small
model: llama-3.1-8b
fleet: [{gpu: h100-80gb}]
tenants: [{name: tenant, count: 200, adapter: {rank: 16}}]
workload: {rate_rps: 20, duration_s: 60}
adapters: {hot: {max_adapters: 16}}
"""


def main() -> None:
    """Print seconds and points per second of each, the processes' start left out."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "small.yaml"
        file.write_text(SCENARIO)
        capacities = ",".join(map(str, range(1, POINTS // 2 + 1)))
        plan = plan_sweep(file, [f"adapters.hot.max_adapters={capacities}"], replications=2)
        warm_up = plan_sweep(file, ["workload.duration_s=1"], replications=4)
        seconds = [_seconds(plan, warm_up, Path(directory), *each) for each in EXECUTORS]
    for (kind, jobs), taken_s in zip(EXECUTORS, seconds, strict=True):
        print(
            f"{len(plan)} points, {kind}, {jobs} processes: {taken_s:.1f} s, "
            f"{len(plan) / taken_s:.1f} points per second, {seconds[0] / taken_s:.2f} times as "
            "fast as one process"
        )


def _seconds(plan: Sweep, warm_up: Sweep, directory: Path, kind: Kind, jobs: int) -> float:
    with open_executor(kind, jobs) as executor:
        early, store = (Store(directory / f"{name}-{kind}-{jobs}") for name in ("early", "all"))
        with early.writing(resume=False):
            run_sweep(warm_up, early, executor)  # processes start and import what they need
        with store.writing(resume=False):
            started_s = time.perf_counter()
            run_sweep(plan, store, executor)
            return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
