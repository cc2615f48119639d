"""Whole runs of a server: simulated with the figures of the day, and fitted to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from simlora.calibration.design import Rows, stack
from simlora.calibration.fit import Fit, fit_steps
from simlora.calibration.judge import FEWEST, folds_of
from simlora.calibration.tables import Floats, Table
from simlora.calibration.witness import WatchingRecorder, Witness
from simlora.errors import UserError
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.loading import load_scenario, parse_setting
from simlora.scenario.schema import Scenario
from simlora.sim.facts import gather_facts
from simlora.timing import TimingModel
from simlora.timing.parameters import StepParameters
from simlora.timing.profile import Profile
from simlora.timing.select import profile_timing
from simlora.validation.predict import Client, client_metrics
from simlora.validation.processes import run_all
from simlora.validation.window import ClientSimulation
from simlora.workload.traffic import open_traffic

# With no more than this share of the time to first token spent waiting, requests wait for the step
# in progress and little else; what a run was measured to take longer is spent outside the engine.
CALM = 0.5
# Iterations end when no run's prediction moves by more.
SETTLED = 0.003
Told = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run of a real server: what it was, and what was measured (None of it NaN). `client`: how
    it was measured, if other than by a client that sees all and limits nothing."""

    place: str
    scenario: Scenario
    measured: Mapping[str, float]
    client: Client | None = None


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """The same in simulation. `waited`: share of the time to first token spent in queues."""

    row: Rows
    figures: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]
    waited: float


@dataclass(frozen=True, slots=True)
class RunsFit:
    """The fit, and each run as simulated with figures fitted without it (`held_out`) or, for too
    few runs, with the final ones."""

    fit: Fit
    simulated: tuple[SimulatedRun, ...]
    held_out: bool
    request_overhead_s: float
    errors: Mapping[str, Floats]  # by metric, predicted / measured - 1, NaN: not measured
    calm: np.ndarray
    iterations: int


def read_runs(table: Table) -> list[MeasuredRun]:
    """The runs of a table, their scenarios loaded. Raises UserError with file and line."""
    runs = []
    for row in range(len(table)):
        settings = [f"{key}={cells[row]}" for key, cells in table.settings.items()]
        measured = {
            name: float(values[row])
            for name, values in table.columns.items()
            if not np.isnan(values[row])
        }
        path = table.path.parent / table.text["scenario"][row]
        runs.append(load_run(table.place(row), path, settings, measured))
    return runs


def load_run(
    place: str, path: Path, settings: Sequence[str], measured: Mapping[str, float]
) -> MeasuredRun:
    """A run of the scenario at `path` with `settings` (`key=value`). Raises UserError."""
    try:
        scenario = load_scenario(path, dict(map(parse_setting, settings)))
        if sum(pool.replicas for pool in scenario.fleet) != 1:
            raise UserError("fleet: a run to fit has one replica")
        expand(scenario)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    if not {"tpot_mean_s", "itl_mean_s"} & set(measured):
        raise UserError(f"{place}: neither tpot_mean_s nor itl_mean_s was measured")
    return MeasuredRun(place, scenario, measured)


def simulate_run(run: MeasuredRun, profile: Profile) -> SimulatedRun:
    """Simulate a run with a profile's figures. Raises UserError if it cannot be."""
    started_s = time.perf_counter()
    try:
        deployment = expand(run.scenario)
        traffic = open_traffic(deployment)
        with TemporaryDirectory(prefix="simlora-") as directory:
            recorder = WatchingRecorder(
                deployment, Path(directory), warmup_s=run.scenario.run.warmup_s
            )

            def watched(deployment: Deployment, pool_index: int) -> TimingModel:
                recorder.witness = Witness(profile_timing(profile, deployment, pool_index))
                return recorder.witness

            # A run at its client's cap is cut short when it is steady, and judged from there on.
            client = run.client or Client()
            simulation = ClientSimulation(
                deployment, traffic, recorder, client.cap, True, watched, recorder.restart
            )
            if simulation.run():
                raise KeyboardInterrupt
            recorder.flush()
            facts = gather_facts(
                deployment, simulation, time.perf_counter() - started_s, interrupted=False
            )
            result = recorder.close(facts)
            summary = result.summary
            figures = _figures(summary)
            if run.client is not None:
                window_s = run.scenario.workload.duration_s
                assert window_s is not None  # a recipe gives the window
                figures |= client_metrics(result, facts.span_s, window_s, client)
    except UserError as error:
        raise UserError(f"{run.place}: {error}") from None
    row = recorder.row()
    if row is None or "tpot_mean_s" not in figures:
        raise UserError(
            f"{run.place}: in simulation no request makes a second output token, so there is no "
            "time per output token to compare"
        )
    memory = run.scenario.engine.memory
    ranks = [adapter.rank for adapter in deployment.adapters]
    ranges = recorder.ranges
    if ranks:
        ranges |= {
            "slots": (memory.max_loras or 0,) * 2,
            "max_rank": (memory.max_lora_rank or max(ranks),) * 2,
        }
    latency = summary["latency"]
    waited_s = latency["queue_s"]["mean"] + latency["adapter_wait_s"]["mean"]
    return SimulatedRun(
        _as_measured(row, run, figures), figures, ranges, waited_s / latency["ttft_s"]["mean"]
    )


def fit_runs(
    runs: Sequence[MeasuredRun],
    profile: Profile,
    steps: Rows | None,
    given: Mapping[str, float],
    *,
    iterations: int,
    folds: int,
    jobs: int,
    told: Told,
) -> RunsFit:
    """Fit the figures to runs and, if there are any, to measured steps.

    Which batches form depends on how long steps take. So the runs are simulated with the figures of
    `profile`, figures are fitted to the steps seen there, and again, until that settles. Then
    each run is simulated with figures fitted to the others.
    """
    groups = _groups(runs)
    before: Floats | None = None
    for iteration in range(1, iterations + 1):
        simulated = _simulate_all(
            runs, [profile] * len(runs), jobs, told, f"simulating runs, pass {iteration}"
        )
        own = _together(simulated, groups)
        everything = own if steps is None else stack([steps, own])
        fit = fit_steps(everything, given)
        profile = profile.model_copy(update={"step": fit.parameters})
        predicted = own.predict(fit.parameters)
        if before is not None and np.abs(predicted / before - 1).max() < SETTLED:
            break
        before = predicted
    fold = folds_of(groups, folds)
    by_fold = _fold_figures(everything, fold, given)
    profiles = [
        profile if by_fold is None else profile.model_copy(update={"step": by_fold[number]})
        for number in fold.tolist()
    ]
    simulated = _simulate_all(runs, profiles, jobs, told, "simulating runs, judging")
    calm = np.array([run.waited < CALM for run in simulated])
    return RunsFit(
        fit,
        tuple(simulated),
        by_fold is not None,
        _overhead_s(runs, simulated, calm),
        _errors(runs, simulated, calm, None if by_fold is None else fold),
        calm,
        iteration,
    )


def _fold_figures(
    rows: Rows, fold: np.ndarray, given: Mapping[str, float]
) -> dict[int, StepParameters] | None:
    """The figures fitted without each fold of the runs, which are the last of the rows; None where
    there are too few."""
    if len(fold) < FEWEST:
        return None
    figures = {}
    for number in np.unique(fold):
        kept = np.concatenate([np.ones(len(rows) - len(fold), dtype=bool), fold != number])
        if not kept.any():
            return None
        try:
            figures[int(number)] = fit_steps(rows.take(kept), given).parameters
        except UserError:
            return None
    return figures


def _simulate_all(
    runs: Sequence[MeasuredRun], profiles: Sequence[Profile], jobs: int, told: Told, what: str
) -> list[SimulatedRun]:
    told(what, 0, len(runs))
    return run_all(
        simulate_run,
        list(zip(runs, profiles, strict=True)),
        jobs,
        lambda done: told(what, done, len(runs)),
    )


def _together(simulated: Sequence[SimulatedRun], groups: np.ndarray) -> Rows:
    return replace(stack([run.row for run in simulated]), group=groups)


def _groups(runs: Sequence[MeasuredRun]) -> np.ndarray:
    """Runs of one scenario, whatever its name and seed, repeat each other."""
    numbers: dict[str, int] = {}
    same = {"name": "same", "description": "", "seed": 0}
    keys = [run.scenario.model_copy(update=same).model_dump_json() for run in runs]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _as_measured(row: Rows, run: MeasuredRun, figures: Mapping[str, float]) -> Rows:
    """The row, for what was measured: the mean over tokens (ITL) or over requests (TPOT), which
    differ by a factor that hardly depends on the figures."""
    factor = 1.0
    measured_s = run.measured.get("tpot_mean_s")
    if measured_s is None:
        measured_s = run.measured["itl_mean_s"]
    else:
        factor = figures["tpot_mean_s"] / float(row.seconds[0])
    return replace(
        row,
        matrix=row.matrix * factor,
        seconds=np.array([measured_s]),
        offset_s=row.offset_s * factor,
        token_share=row.token_share * factor,
    )


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """A run's figures by the names of the runs table; those that there are not are left out."""
    latency, throughput = summary["latency"], summary["throughput"]
    requests = throughput["requests_per_s"]
    prompt, output = throughput["input_tokens_per_s"], throughput["output_tokens_per_s"]
    figures = {
        "tpot_mean_s": latency["tpot_s"]["mean"],
        "itl_mean_s": latency["itl_s"]["mean"],
        "ttft_mean_s": latency["ttft_s"]["mean"],
        "e2e_mean_s": latency["e2e_s"]["mean"],
        "requests_per_s": requests,
        "input_tokens_per_s": prompt,
        "output_tokens_per_s": output,
    }
    if requests:
        figures["total_tokens_per_s"] = prompt + output
        figures["input_tokens_mean"] = prompt / requests
        figures["output_tokens_mean"] = output / requests
    return {name: value for name, value in figures.items() if value is not None}


def _overhead_s(
    runs: Sequence[MeasuredRun], simulated: Sequence[SimulatedRun], calm: np.ndarray
) -> float:
    """What calm runs spend outside the engine until their first token: what makes the simulated
    means most like the measured ones, by the sum of relative errors on a log scale."""
    pairs = np.array(
        [
            (one.figures["ttft_mean_s"], run.measured["ttft_mean_s"])
            for run, one, is_calm in zip(runs, simulated, calm, strict=True)
            if is_calm and "ttft_mean_s" in run.measured
        ]
    )
    if not len(pairs):
        return 0.0
    predicted, measured = pairs.T
    # The sum bends upwards nowhere but at a run's own overhead or at 0, so its least is at one.
    candidates = np.append(np.maximum(measured - predicted, 0.0), 0.0)
    errors = np.abs(np.log((predicted + candidates[:, None]) / measured)).sum(axis=1)
    return float(candidates[errors.argmin()])


def _errors(
    runs: Sequence[MeasuredRun],
    simulated: Sequence[SimulatedRun],
    calm: np.ndarray,
    fold: np.ndarray | None,
) -> dict[str, Floats]:
    """Errors by metric; the overhead of a request is that of the runs in the other folds."""
    names = sorted({name for run in runs for name in run.measured})
    errors = {name: np.full(len(runs), np.nan) for name in names}
    for index, (run, one) in enumerate(zip(runs, simulated, strict=True)):
        others = np.ones(len(runs), dtype=bool) if fold is None else fold != fold[index]
        overhead_s = _overhead_s(runs, simulated, calm & others)
        for name, measured in run.measured.items():
            outside_s = overhead_s if name in ("ttft_mean_s", "e2e_mean_s") else 0.0
            if name in one.figures:
                errors[name][index] = (one.figures[name] + outside_s) / measured - 1
    return errors
