"""From a scenario to its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simlora import __version__
from simlora.errors import UserError
from simlora.results import files
from simlora.results.decision_file import writing_decisions
from simlora.results.decisions import Line
from simlora.results.recorder import Recorder
from simlora.results.result import Result, scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.loading import dump_resolved
from simlora.scenario.schema import Scenario
from simlora.sim.facts import gather_facts
from simlora.sim.output import growing_result
from simlora.sim.simulation import Progress, Simulation
from simlora.timing.select import timing_hash
from simlora.workload.blocks import Traffic
from simlora.workload.traffic import open_traffic


def simulate(
    scenario: Scenario, *, out: str | Path | None = None, progress: Progress | None = None
) -> Result:
    """Simulate a scenario.

    The result files go to the directory `out` when all of them are complete, so that an earlier
    result there is lost only for a new one; without `out` they live as long as the Result does.
    Ctrl-C ends the run early: the result then says so.

    Raises UserError for whatever is wrong with the scenario or its trace, for a run that measures
    nothing, and if `out` cannot be written to.
    """
    started_s = time.perf_counter()
    deployment = expand(scenario)
    traffic = open_traffic(deployment)
    if out is None:
        owner = scratch_directory()
        try:
            return _run(deployment, traffic, Path(owner.name), progress, started_s, owner)
        except BaseException:
            owner.cleanup()
            raise
    with growing_result(Path(out)) as working:
        summary = _run(deployment, traffic, working, progress, started_s).summary
    return Result(Path(out), summary)


def _run(
    deployment: Deployment,
    traffic: Traffic,
    directory: Path,
    progress: Progress | None,
    started_s: float,
    owner: TemporaryDirectory[str] | None = None,
) -> Result:
    warmup_s = deployment.scenario.run.warmup_s
    recorder = Recorder(deployment, directory, warmup_s=warmup_s)
    with _decisions_to(deployment, directory) as log:
        simulation = Simulation(deployment, traffic, recorder, log=log)
        interrupted = simulation.run(progress)
    recorder.flush()
    wall_s = time.perf_counter() - started_s
    _write_resolved(deployment, simulation, directory)
    facts = gather_facts(deployment, simulation, wall_s, interrupted)
    result = recorder.close(facts, owner)
    if not interrupted:
        _check_measured(result.summary, warmup_s)
    return result


def _decisions_to(
    deployment: Deployment, directory: Path
) -> AbstractContextManager[Callable[[list[Line]], None] | None]:
    """Where decisions are written to, if they are to be."""
    if not deployment.scenario.run.decisions:
        return nullcontext()
    return writing_decisions(directory / files.DECISIONS)


def _check_measured(summary: dict[str, Any], warmup_s: float) -> None:
    offered = summary["requests"]["offered"]
    if not offered:
        raise UserError("workload: no request arrives before it ends, so nothing is measured")
    if not any(tier["requests"]["offered"] for tier in summary["tiers"].values()):
        raise UserError(
            f"run.warmup_s: all {offered:,} requests arrive in the warm-up of {warmup_s:g} s, so "
            "nothing is measured"
        )


def _write_resolved(deployment: Deployment, simulation: Simulation, directory: Path) -> None:
    """The scenario with all defaults filled in; running it again gives the same result."""
    header = f"simlora {__version__}\ntiming {timing_hash(simulation.timings)}"
    text = dump_resolved(deployment.scenario, header)
    (directory / files.RESOLVED_SCENARIO).write_text(text, encoding="utf-8", newline="\n")
