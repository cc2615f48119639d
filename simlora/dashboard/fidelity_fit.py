"""A timing profile fitted to a part of uploaded measurements, to be judged on the rest."""

from __future__ import annotations

import csv
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simlora.calibration.calibrate import Calibration, Options, Server, calibrate
from simlora.calibration.formats import KV_CAPACITY
from simlora.calibration.runs import MeasuredRun, Told
from simlora.calibration.tables import Table
from simlora.dashboard.fidelity_files import Measurements
from simlora.dashboard.fidelity_words import plain
from simlora.errors import UserError
from simlora.scenario.loading import dump_resolved
from simlora.scenario.presets import PRESETS
from simlora.timing.profile import load_profile
from simlora.validation.recipe import GPU, MODELS
from simlora.validation.rows import BscRun, held_out

NAME = "fitted"
PASSES = 3
# What a step without adapters takes: better measured by itself than told from whole runs.
BASE_FIGURES = (
    "fixed_s",
    "weights_s",
    "token_compute_s",
    "token_s",
    "sequence_s",
    "decode_attended_s",
    "prefill_attended_s",
)


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What is to be fitted. `gpu`, `model` and `preset`: of the server, where the measurements do
    not say; `holdout`: share that is left out and judged; `base`: the profile that gives the
    figures of a step without adapters (None: they are fitted too)."""

    gpu: str
    model: str
    preset: str
    holdout: float = 0.3
    base: str | None = None


def to_fit(runs: Sequence[BscRun], model: str) -> list[BscRun]:
    """The published runs of a model that tell how long steps take. Raises UserError for none."""
    own = [
        run
        for run in runs
        if MODELS.get(run.model) == model and run.feasible and "tpot_mean_s" in run.measured
    ]
    if not own:
        raise UserError(f"there is no run of {model} to fit to: choose another model")
    return own


def split(found: Measurements, request: FitRequest, seed: int) -> tuple[Measurements, Measurements]:
    """What to fit to, and what is left out of the fit. Repetitions stay together.

    Raises UserError if there is nothing to leave out.
    """
    fit, rest = Measurements(found.kind), Measurements(found.kind)
    rest.published = held_out(found.published, request.holdout, seed)
    judged = {run.config_id for run in rest.published}
    fit.published = [run for run in found.published if run.config_id not in judged]
    left = _left_out([_alike(run) for run in found.runs], request.holdout, seed)
    rest.runs = [run for run, out in zip(found.runs, left, strict=True) if out]
    fit.runs = [run for run, out in zip(found.runs, left, strict=True) if not out]
    for table in found.tables:
        if table.format is KV_CAPACITY:  # a profile holds no memory
            continue
        out = np.array(_left_out(_shapes(table), request.holdout, seed))
        rest.tables.append(_subset(table, out))
        fit.tables.append(_subset(table, ~out))
    kept = (*fit.published, *fit.runs, *map(len, fit.tables))
    left_over = (*rest.published, *rest.runs, *[one for one in map(len, rest.tables) if one])
    if not kept or not left_over:
        raise UserError(
            "too few different measurements to fit to some and leave out others: choose a profile"
        )
    return fit, rest


def _left_out(keys: Sequence[Hashable], share: float, seed: int) -> list[bool]:
    """Whether each is left out: the share of the different keys, at least one where there are
    several, chosen by the seed."""
    different = list(dict.fromkeys(keys))
    random.Random(seed).shuffle(different)
    count = min(max(round(share * len(different)), 1), len(different) - 1)
    chosen = set(different[: max(count, 0)])
    return [key in chosen for key in keys]


def _alike(run: MeasuredRun) -> str:
    same = {"name": "same", "description": "", "seed": 0}
    return run.scenario.model_copy(update=same).model_dump_json()


def _shapes(table: Table) -> list[Hashable]:
    """What was measured in each row, but for the time that it took."""
    shape = [
        values for name, values in table.columns.items() if name not in (table.format.key, "weight")
    ]
    return [tuple(float(values[row]) for values in shape) for row in range(len(table))]


def _subset(table: Table, kept: np.ndarray) -> Table:
    return replace(
        table,
        columns={name: values[kept] for name, values in table.columns.items()},
        lines=[line for line, is_kept in zip(table.lines, kept, strict=True) if is_kept],
    )


def fit_profile(
    scratch: Path,
    working: Path,
    source: Sequence[str],
    fit: Measurements,
    request: FitRequest,
    told: Told,
) -> Calibration:
    """A profile fitted to `fit`, which comes from the files `source` in `scratch`; what is
    fitted to is written to the directory `working`.

    Raises UserError where `simlora calibrate` would.
    """
    paths = [
        _write_table(working / f"table-{number}.csv", table)
        for number, table in enumerate(fit.tables)
        if len(table)
    ]
    if fit.runs:
        paths.append(_write_runs(working, fit.runs))
    published = None
    if fit.published:
        published = working / "published.csv"
        _write_published(scratch / source[0], published, fit.published)
    given = {}
    if request.base is not None:
        step = load_profile(request.base).step
        given = {name: getattr(step, name) for name in BASE_FIGURES}
    try:
        return calibrate(
            paths,
            _server(fit, request),
            Options(
                given=given,
                passes=PASSES,
                published=published,
                source=f"a part of {', '.join(source)}",
            ),
            told,
        )
    except UserError as error:
        raise UserError(f"no profile can be fitted: {plain(str(error))}") from None


def _server(fit: Measurements, request: FitRequest) -> Server:
    """What was measured, by the measurements themselves where they say it."""
    gpu, model, preset = request.gpu, request.model, request.preset
    if fit.published:
        gpu = GPU
        preset = "vllm-0.8.5" if fit.published[0].is_v1 else "vllm-0.5.0"
    if fit.runs:
        scenario = fit.runs[0].scenario
        pool = scenario.fleet[0]
        gpu, model, preset = pool.gpu, scenario.model.name, scenario.engine.preset
    server = Server(
        name=NAME,
        gpu=gpu,
        model=model,
        server=preset,
        preset=preset,
        padded=PRESETS.get(preset, {}).get("memory", {}).get("mode") == "slots",
    )
    if not fit.runs:
        return server
    return replace(server, weights=scenario.model.weights, tensor_parallel=pool.tensor_parallel)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _write_table(path: Path, table: Table) -> Path:
    columns = [[repr(float(value)) for value in values] for values in table.columns.values()]
    return _write(path, list(table.columns), list(zip(*columns, strict=True)))


def _write_runs(working: Path, runs: Sequence[MeasuredRun]) -> Path:
    figures = list(dict.fromkeys(name for run in runs for name in run.measured))
    rows = []
    for number, run in enumerate(runs):
        scenario = working / f"run-{number}.yaml"
        scenario.write_text(dump_resolved(run.scenario), encoding="utf-8")
        rows.append([scenario.name, *(_cell(run.measured, name) for name in figures)])
    return _write(working / "runs.csv", ["scenario", *figures], rows)


def _cell(measured: Mapping[str, float], name: str) -> str:
    return repr(measured[name]) if name in measured else ""


def _write_published(source: Path, path: Path, kept: Sequence[BscRun]) -> None:
    """The lines of a table of published runs that are of these runs' configurations."""
    names = {(run.run_id, run.config_id) for run in kept}
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        name, config = header.index("run_id"), header.index("config_id")
        rows = [
            cells
            for cells in reader
            if cells and (cells[name].strip(), int(float(cells[config]))) in names
        ]
    _write(path, header, rows)
