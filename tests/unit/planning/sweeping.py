"""Sweeps of a small scenario, in this process or as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pandas as pd

from simlora.planning.sweep import Ended, run_sweep
from simlora.planning.sweep_grid import plan_sweep
from simlora.planning.sweep_store import Store
from simlora.planning.sweep_table import OF_THE_RUN

SCENARIO = """\
name: small
model: tiny-llama
fleet: [{gpu: l40s}]
tenants:
  - {name: gold, count: 10, tier: gold, adapter: {rank: 64}}
  - {name: free, count: 40, tier: free}
workload: {rate_rps: 20, duration_s: 10}
adapters: {hot: {max_adapters: 16}}
tiers: {gold: {sla: {ttft_p99_s: 0.02}}, free: {}}
"""


class Here:
    """Calls at once, in this process."""

    deaths: tuple[type[BaseException], ...] = ()
    deaths_each = 1

    def slots(self) -> int:
        return 1

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


def scenario_file(folder: Path) -> Path:
    """The small scenario's file."""
    path = folder / "small.yaml"
    if not path.exists():
        path.write_text(SCENARIO)
    return path


def sweep_here(
    folder: Path,
    *grid: str,
    out: str = "out",
    resume: bool = False,
    replications: int | None = None,
    listed: Path | None = None,
) -> tuple[Ended, pd.DataFrame]:
    """Run a sweep in this process; what it came to, and its rows."""
    plan = plan_sweep(scenario_file(folder), grid, listed, replications)
    store = Store(folder / out)
    with store.writing(resume=resume):
        return run_sweep(plan, store, Here()), table(folder, out)


def command(folder: Path, *options: str, out: str = "out") -> list[str]:
    """The command line of a sweep of the small scenario in `folder`."""
    arguments = [sys.executable, "-m", "simlora", "sweep", str(scenario_file(folder)), *options]
    return [*arguments, "--out", str(folder / out)]


def sweep(folder: Path, *options: str, out: str = "out", code: int = 0) -> dict[str, Any]:
    """Run the command to its end; what it told as JSON, or its error if it was a mistake."""
    done = subprocess.run(
        [*command(folder, *options, out=out), "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    told: dict[str, Any] = json.loads(done.stdout) if code != 2 else {"error": done.stderr}
    return told


def options(grid: Sequence[str]) -> list[str]:
    """A grid as options of the command."""
    return [word for axis in grid for word in ("--grid", axis)]


def table(folder: Path, out: str = "out") -> pd.DataFrame:
    """The rows of a sweep."""
    return pd.read_parquet(folder / out / "sweep.parquet")


def assert_same_results(some: pd.DataFrame, others: pd.DataFrame) -> None:
    """The same rows and columns, to the last bit, but for when and where the points ran."""
    pd.testing.assert_frame_equal(
        some.drop(columns=list(OF_THE_RUN)),
        others.drop(columns=list(OF_THE_RUN)),
        check_exact=True,
    )


def finished(folder: Path, out: str = "out") -> dict[str, int]:
    """The finished points and when their files were written, in ns."""
    points = (folder / out / "points").glob("[!.]*.json")
    return {path.name: path.stat().st_mtime_ns for path in points}
