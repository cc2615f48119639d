"""From files of measurements to a profile and a verdict on it."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from simlora import __version__
from simlora.calibration.design import Rows, Shapes, read_shapes, rows_of_steps, stack
from simlora.calibration.fit import Fit, fit_steps
from simlora.calibration.formats import KV_CAPACITY, LOADS, RUNS, STEPS
from simlora.calibration.judge import ErrorSummary, cross_validate, loads_left_out
from simlora.calibration.loads import KvFit, LoadsFit, fit_kv, fit_loads, host_bytes_per_s
from simlora.calibration.published import published_runs
from simlora.calibration.runs import MeasuredRun, Told, fit_runs, read_runs
from simlora.calibration.tables import Selection, Table, read_tables
from simlora.calibration.verdict import (
    distrust,
    fit_warnings,
    length_warnings,
    profile_errors,
    run_errors,
    step_ranges,
    summaries,
    uneven_columns,
    union_of,
    unit_warnings,
    unmeasured,
)
from simlora.calibration.vllm_bench import read_bench
from simlora.errors import UserError
from simlora.scenario.catalog import GpuSpec, ModelSpec, Weights, load_gpu, load_model
from simlora.scenario.presets import PRESETS
from simlora.scenario.problems import did_you_mean, dotted
from simlora.scenario.schema import ModelChoice, Targets
from simlora.scenario.wording import explain
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
    """A profile, and how good it is, by what was predicted. `errors`: on measurements that were
    left out of the fit that predicted them; `residuals`: of the fit itself. `held_out`: whether
    steps or runs were left out."""

    profile: Profile
    fit: Fit
    rows: Mapping[str, int]
    errors: Mapping[str, ErrorSummary]
    residuals: Mapping[str, ErrorSummary]
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
    tables, runs, warnings = _read(paths, server.model, options)
    steps = _of(tables, STEPS.name)
    if not steps and not runs:
        raise UserError("--from: a profile needs steps or runs; the files have neither")
    _check_runs(runs, server)
    # A padded slot has all modules of its rank, whatever its adapter has.
    counted: Targets = "all-linear" if server.padded else server.targets
    errors: dict[str, ErrorSummary] = {}
    residuals: dict[str, ErrorSummary] = {}
    loads, kv = None, None
    if load_tables := _of(tables, LOADS.name):
        link = host_bytes_per_s(gpu, server.tensor_parallel)
        loads = fit_loads(load_tables, model, server.targets, link)
        residuals |= summaries({"load": loads.errors})
        left_out = loads_left_out(load_tables, model, server.targets, link)
        if left_out is not None:
            errors |= summaries({"load": left_out})
        if loads.note:
            warnings.append(f"loads: {loads.note}, so bytes_per_s is the host link's datasheet")
    if kv_tables := _of(tables, KV_CAPACITY.name):
        kv = fit_kv(kv_tables, model, counted)
        residuals |= summaries({"kv_tokens": kv.errors})
    shapes = [read_shapes(table, model, counted) for table in steps]
    step_rows = _step_rows(shapes, steps)
    start = _start(step_rows, gpu, model, server, options.given, bool(runs))
    profile = _profile(server, start, loads.load if loads else None)
    found = _fit(runs, step_rows, profile, options, told)
    fit = found.fit
    holds_for = union_of(
        [
            *found.ranges,
            *(step_ranges(one, table) for one, table in zip(shapes, steps, strict=True)),
        ]
    )
    rows = {
        "steps": sum(map(len, steps)),
        "loads": sum(map(len, load_tables)),
        "kv_capacity": sum(map(len, kv_tables)),
        "runs": len(runs),
    }
    fitted = summaries(
        {"step": fit.errors[: rows["steps"]], "time_per_token": fit.errors[rows["steps"] :]}
    )
    residuals = fitted | residuals
    if found.held_out:
        errors = found.errors | errors
    else:
        residuals |= found.errors
        warnings.append(
            "too few measurements to cross-validate: what steps take is judged by the fit itself "
            "only, and the profile states no error of it"
        )
    warnings += found.warnings
    places = [table.place(row) for table in steps for row in range(len(table))]
    warnings += uneven_columns(steps) + unmeasured(holds_for)
    warnings += fit_warnings(fit, rows["steps"] + rows["runs"])
    warnings += unit_warnings(fit.errors, places + [run.place for run in runs])
    warnings += distrust(errors, fitted)
    profile = profile.model_copy(
        update={
            "step": fit.parameters,
            "request_overhead_s": found.request_overhead_s,
            "holds_for": holds_for,
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
        profile,
        fit,
        rows,
        errors,
        residuals,
        found.held_out,
        loads,
        kv,
        found.passes,
        tuple(warnings),
    )


def _read(
    paths: Sequence[Path], model: str, options: Options
) -> tuple[list[Table], list[MeasuredRun], list[str]]:
    """The tables, the runs of all kinds of files, and what is odd about them."""
    tables = read_tables([path for path in paths if not _is_json(path)], options.selection)
    warnings = [warning for table in tables for warning in table.warnings]
    runs = [run for table in _of(tables, RUNS.name) for run in read_runs(table)]
    for path in filter(_is_json, paths):
        found, remarks = read_bench(path, options.scenario)
        runs += found
        warnings += remarks
    if options.published is not None:
        runs += published_runs(options.published, model, options.holdout, options.seed)
    return tables, runs, warnings


def _is_json(path: Path) -> bool:
    return path.suffix.lower() in (".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The figures, and the errors by what was predicted: of the fit itself where nothing could be
    `held_out`. `ranges`: of the runs."""

    fit: Fit
    passes: int
    held_out: bool
    errors: dict[str, ErrorSummary]
    ranges: list[Mapping[str, tuple[float, float]]] = field(default_factory=list)
    request_overhead_s: float = 0.0
    warnings: list[str] = field(default_factory=list)


def _fit(
    runs: Sequence[MeasuredRun],
    steps: Rows | None,
    profile: Profile,
    options: Options,
    told: Told,
) -> _Fitted:
    """Fit to runs, beginning with the figures of `profile`, and to steps, or to steps alone."""
    if not runs:
        assert steps is not None
        left_out = cross_validate(steps, options.given, options.folds)
        errors = {} if left_out is None else summaries({"step": left_out})
        return _Fitted(fit_steps(steps, options.given), 1, left_out is not None, errors)
    judged = fit_runs(
        runs,
        profile,
        steps,
        options.given,
        iterations=options.passes,
        folds=options.folds,
        jobs=options.jobs,
        told=told,
    )
    return _Fitted(
        judged.fit,
        judged.iterations,
        judged.held_out,
        run_errors(judged),
        [run.ranges for run in judged.simulated],
        judged.request_overhead_s,
        length_warnings(runs, judged),
    )


def _check(given: Mapping[str, float]) -> None:
    for name in given:
        if name not in StepParameters.model_fields:
            hint = did_you_mean(name, StepParameters.model_fields)
            raise UserError(f'--fix: no figure "{name}": {hint}')
    try:
        StepParameters(**given)
    except ValidationError as error:
        field, problem = explain(error)
        raise UserError(f"--fix: {dotted(field)}: {problem}") from None


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
                    f"{ours} (--{what.replace('_', '-')})"
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
