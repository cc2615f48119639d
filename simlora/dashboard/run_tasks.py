"""Tasks of one run: simulate it, keep it, read it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from simlora.dashboard.figures import figures_of
from simlora.dashboard.limits import MOST_REQUESTS, check_size, expected_requests
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.tasks import Progress
from simlora.dashboard.trace_replay import bring_along, placed
from simlora.errors import UserError
from simlora.results.result import load_result
from simlora.scenario.schema import Scenario
from simlora.sim import simulate


def what_if(scratch: Path, progress: Progress, scenario: Scenario) -> RunFigures:
    """Simulate a scenario."""
    check_size(scenario)
    return _figures(placed(scratch, scenario), progress)


def keep_run(scratch: Path, progress: Progress, scenario: Scenario, out: Path) -> Path:
    """Simulate a scenario into the result directory `out`, which must not be there yet."""
    check_size(scenario)
    if out.exists():
        raise UserError(f"{out}: is there already; give the run another name")
    from simlora.report import write_report

    asked = placed(scratch, scenario)
    result = simulate(asked, progress=simulated(asked, progress))
    progress(0.92, "writing the report")
    trace = bring_along(result.directory, asked)
    write_report(result)
    if trace is not None:
        out.mkdir(parents=True)
        shutil.copyfile(trace, out / trace.name)
    result.save(out)  # at the very end: a task that is cancelled leaves nothing there
    return out


def read_run(scratch: Path, progress: Progress, directory: Path) -> RunFigures:
    """The figures of a result directory."""
    progress(0.1, f"reading {directory.name}")
    return figures_of(load_result(directory))


def _figures(scenario: Scenario, progress: Progress) -> RunFigures:
    result = simulate(scenario, progress=simulated(scenario, progress))
    progress(0.95, "drawing")
    return figures_of(result)


def simulated(scenario: Scenario, progress: Progress) -> Callable[[float, int], None]:
    """What tells how many requests have arrived, and ends a run that gets out of hand."""
    expected = max(expected_requests(scenario), 1.0)

    def told(time_s: float, arrived: int) -> None:
        if arrived > 1.2 * MOST_REQUESTS:
            raise UserError(
                f"more than {MOST_REQUESTS:,} requests arrive, which is the most that this "
                "dashboard simulates; use the command line, which has no such limit"
            )
        progress(min(0.9 * arrived / expected, 0.9), f"{arrived:,} requests")

    return told
