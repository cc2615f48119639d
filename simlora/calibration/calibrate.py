"""From files of measurements to a profile and a verdict on it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from simlora import __version__
from simlora.calibration.design import Rows, Shapes, read_shapes, rows_of_steps, stack
from simlora.calibration.fit import Fit, fit_steps
from simlora.calibration.formats import KV_CAPACITY, LOADS, RUNS, STEPS
from simlora.calibration.judge import ErrorSummary, cross_validate, summarize
from simlora.calibration.loads import KvFit, LoadsFit, fit_kv, fit_loads, host_bytes_per_s
from simlora.calibration.published import published_runs
from simlora.calibration.runs import MeasuredRun, Told, fit_runs, read_runs
from simlora.calibration.tables import Selection, Table, read_tables
from simlora.calibration.verdict import (
    fit_warnings,
    length_warnings,
    profile_errors,
    run_errors,
    step_ranges,
    summaries,
    union_of,
)
from simlora.calibration.vllm_bench import read_bench
from simlora.errors import UserError
from simlora.scenario.catalog import GpuSpec, ModelSpec, Weights, load_gpu, load_model
from simlora.scenario.presets import PRESETS
from simlora.scenario.problems import did_you_mean
from simlora.scenario.schema import ModelChoice, Targets
from simlora.timing.parameters import LoadParameters, StepParameters
from simlora.timing.profile import Profile, Provenance
from simlora.timing.roofline import Efficiency, roofline_parameters


@dataclass(frozen=True, slots=True)
class Server:
    """What was measured; the names are a profile's fields."""

    name: str
    gpu: str
    model: str
    server: str
    preset: str
    padded: bool
    weights: Weights = "bf16"
    tensor_parallel: int = 1
    targets: Targets = "all-linear"


@dataclass(frozen=True, slots=True)
class Options:
    """How to read and fit. `given` figures are not fitted; `scenario` is that of runs whose file
    names none. `published`: a table of published runs to fit to as well, less the share `holdout`
    of its configurations, chosen by `seed`."""

    selection: Selection = field(default_factory=Selection)
    scenario: Path | None = None
    given: Mapping[str, float] = field(default_factory=dict)
    folds: int = 5
    passes: int = 4
    jobs: int = 1
    source: str | None = None
    published: Path | None = None
    holdout: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """A profile, and how good it is. `errors`: by what was predicted; `held_out` says whether the
    measurements were left out of the fit that predicted them."""

    profile: Profile
    fit: Fit
    rows: Mapping[str, int]
    errors: Mapping[str, ErrorSummary]
    residuals: ErrorSummary
    held_out: bool
    loads: LoadsFit | None
    kv: KvFit | None
    passes: int
    warnings: tuple[str, ...]


def calibrate(
    paths: Sequence[Path], server: Server, options: Options, told: Told = lambda *_: None
) -> Calibration:
    """Read the files, fit a profile, and judge it. Raises UserError for whatever is wrong."""
    started_s = time.perf_counter()
    _check(options.given)
    choice = ModelChoice(name=server.model, weights=server.weights)
    gpu, model = load_gpu(server.gpu), load_model(choice)
    tables = read_tables(
        [path for path in paths if path.suffix.lower() not in (".json", ".jsonl")],
        options.selection,
    )
    warnings = [warning for table in tables for warning in table.warnings]
    steps = _of(tables, STEPS.name)
    runs = [run for table in _of(tables, RUNS.name) for run in read_runs(table)]
    for path in paths:
        if path.suffix.lower() in (".json", ".jsonl"):
            found, remarks = read_bench(path, options.scenario)
            runs += found
            warnings += remarks
    if options.published is not None:
        runs += published_runs(options.published, server.model, options.holdout, options.seed)
    if not steps and not runs:
        raise UserError("--from: a profile needs steps or runs; the files have neither")
    _check_runs(runs, server)
    loads, kv = None, None
    if load_tables := _of(tables, LOADS.name):
        link = host_bytes_per_s(gpu, server.tensor_parallel)
        loads = fit_loads(load_tables, model, server.targets, link)
        if loads.note:
            warnings.append(f"loads: {loads.note}, so bytes_per_s is the host link's datasheet")
    if kv_tables := _of(tables, KV_CAPACITY.name):
        kv = fit_kv(kv_tables, model, server.targets)
    shapes = [read_shapes(table, model, server.targets) for table in steps]
    step_rows = _step_rows(shapes, steps)
    start = _start(step_rows, gpu, model, server, options.given, bool(runs))
    profile = _profile(server, start, loads.load if loads else None)
    if runs:
        judged = fit_runs(
            runs,
            profile,
            step_rows,
            options.given,
            iterations=options.passes,
            folds=options.folds,
            jobs=options.jobs,
            told=told,
        )
        fit, passes = judged.fit, judged.iterations
        errors = run_errors(judged)
        held_out = judged.held_out
        ranges = [run.ranges for run in judged.simulated]
        overhead_s = judged.request_overhead_s
        warnings += length_warnings(runs, judged)
    else:
        assert step_rows is not None
        fit, passes, ranges, overhead_s = fit_steps(step_rows, options.given), 1, [], 0.0
        left_out = cross_validate(step_rows, options.given, options.folds)
        held_out = left_out is not None
        errors = summaries({"step": fit.errors if left_out is None else left_out})
    if loads is not None:
        errors |= summaries({"load": loads.errors})
    if kv is not None:
        errors |= summaries({"kv_tokens": kv.errors})
    ranges += [step_ranges(one, table) for one, table in zip(shapes, steps, strict=True)]
    rows = {
        "steps": sum(map(len, steps)),
        "loads": sum(map(len, load_tables)),
        "kv_capacity": sum(map(len, kv_tables)),
        "runs": len(runs),
    }
    if not held_out:
        warnings.append("too few measurements to cross-validate: the errors are of the fit itself")
    warnings += fit_warnings(fit, rows["steps"] + rows["runs"])
    residuals = summarize(fit.errors)
    assert residuals is not None
    profile = profile.model_copy(
        update={
            "step": fit.parameters,
            "request_overhead_s": overhead_s,
            "holds_for": union_of(ranges),
            "error": profile_errors(errors),
            "provenance": Provenance(
                source=options.source
                or ", ".join(path.name for path in (*paths, options.published) if path),
                rows=sum(rows.values()),
                fitted_s=round(time.perf_counter() - started_s, 3),
                date=datetime.datetime.now(datetime.UTC).date().isoformat(),
                simlora=__version__,
            ),
        }
    )
    return Calibration(
        profile, fit, rows, errors, residuals, held_out, loads, kv, passes, tuple(warnings)
    )


def _check(given: Mapping[str, float]) -> None:
    for name in given:
        if name not in StepParameters.model_fields:
            hint = did_you_mean(name, StepParameters.model_fields)
            raise UserError(f'--fix: no figure "{name}": {hint}')


def _check_runs(runs: Iterable[MeasuredRun], server: Server) -> None:
    """A profile is of one model on one kind of GPU."""
    for run in runs:
        pool, model = run.scenario.fleet[0], run.scenario.model
        for what, theirs, ours in (
            ("gpu", pool.gpu, server.gpu),
            ("model", model.name, server.model),
            ("weights", model.weights, server.weights),
            ("tensor_parallel", pool.tensor_parallel, server.tensor_parallel),
            ("preset", run.scenario.engine.preset, server.preset),
        ):
            if theirs != ours:
                raise UserError(
                    f"{run.place}: the scenario has {what} {theirs}, but the profile is to be for "
                    f"{ours}"
                )


def _of(tables: Iterable[Table], kind: str) -> list[Table]:
    return [table for table in tables if table.format.name == kind]


def _step_rows(shapes: Sequence[Shapes], tables: Sequence[Table]) -> Rows | None:
    if not tables:
        return None
    return stack(
        [
            rows_of_steps(
                shape,
                table.columns["step_s"],
                table.columns.get("weight", np.ones(len(table))),
            )
            for shape, table in zip(shapes, tables, strict=True)
        ]
    )


def _start(
    steps: Rows | None,
    gpu: GpuSpec,
    model: ModelSpec,
    server: Server,
    given: Mapping[str, float],
    has_runs: bool,
) -> StepParameters:
    """Figures for the first simulation: fitted to the steps if they tell enough, else the
    roofline's."""
    if not has_runs:
        return StepParameters()
    roofline = roofline_parameters(gpu, model, server.weights, server.tensor_parallel, Efficiency())
    if steps is not None and len(steps) > 1:
        try:
            return fit_steps(steps, given).parameters
        except UserError:
            return roofline.model_copy(update=dict(given))
    return roofline.model_copy(update=dict(given))


def _profile(server: Server, step: StepParameters, load: LoadParameters | None) -> Profile:
    if server.preset not in PRESETS:
        raise UserError(
            f'--preset: no preset "{server.preset}": {did_you_mean(server.preset, PRESETS)}'
        )
    return Profile(
        name=server.name,
        server=server.server,
        gpu=server.gpu,
        model=server.model,
        weights=server.weights,
        tensor_parallel=server.tensor_parallel,
        preset=server.preset,
        padded=server.padded,
        step=step,
        load=load,
        provenance=Provenance(source="", rows=0, date="2000-01-01", simlora=__version__),
    )
