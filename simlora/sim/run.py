"""From a scenario to its result."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from simlora import __version__
from simlora.errors import UserError
from simlora.results import files
from simlora.results.recorder import Recorder
from simlora.results.result import Result, scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.loading import dump_resolved
from simlora.scenario.schema import Scenario
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Progress, Simulation
from simlora.timing.select import timing_hash
from simlora.workload.traffic import open_traffic


def simulate(
    scenario: Scenario, *, out: Path | None = None, progress: Progress | None = None
) -> Result:
    """Simulate a scenario.

    The result files go to the directory `out`, all at once at the end, so that an earlier result
    there is lost only for a new one; without `out` they live as long as the Result does. Ctrl-C
    ends the run early: the result then says so.

    Raises UserError for whatever is wrong with the scenario or its trace.
    """
    started_s = time.perf_counter()
    deployment = expand(scenario)
    traffic = open_traffic(deployment)
    working = _working_directory(out)
    try:
        recorder = Recorder(deployment, Path(working.name), warmup_s=scenario.run.warmup_s)
        simulation = Simulation(deployment, traffic, recorder)
        interrupted = simulation.run(progress)
        recorder.flush()
        wall_s = time.perf_counter() - started_s
        _write_resolved(deployment, simulation, Path(working.name))
        facts = gather_facts(deployment, simulation, wall_s, interrupted)
        result = recorder.close(facts, working)
        if out is None:
            return result
        _move(Path(working.name), out)
        working.cleanup()
        return Result(out, result.summary)
    except BaseException:
        working.cleanup()
        raise


def _working_directory(out: Path | None) -> TemporaryDirectory[str]:
    """Where the files grow: beside `out`, so that they can be moved there."""
    if out is None:
        return scratch_directory()
    try:
        out.mkdir(parents=True, exist_ok=True)
        return TemporaryDirectory(dir=out, prefix=".unfinished-")
    except OSError as error:
        raise UserError(f"{out}: cannot write results there: {error.strerror or error}") from None


def _write_resolved(deployment: Deployment, simulation: Simulation, directory: Path) -> None:
    """The scenario with all defaults filled in; running it again gives the same result."""
    header = f"simlora {__version__}\ntiming {timing_hash(simulation.timings)}"
    text = dump_resolved(deployment.scenario, header)
    (directory / files.RESOLVED_SCENARIO).write_text(text, encoding="utf-8", newline="\n")


def _move(source: Path, target: Path) -> None:
    """Replace an earlier result's files, its report included, by those of this run."""
    (target / files.REPORT).unlink(missing_ok=True)
    for path in sorted(source.iterdir()):
        os.replace(path, target / path.name)
