"""`calibrate` on the machine at hand: measure the engine's steps, fit a profile, judge it."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from simlora import __version__
from simlora.calibration.design import Rows, Shapes
from simlora.calibration.fit import Fit, fit_steps
from simlora.calibration.grid import CPU, GPU, Extent, steps_to_fit, steps_to_judge, within
from simlora.calibration.judge import ErrorSummary, summarize
from simlora.calibration.loads import LoadsFit, fit_load_times, host_bytes_per_s
from simlora.calibration.records import Records
from simlora.errors import UserError
from simlora.scenario.catalog import GpuSpec, ModelSpec, load_gpu, load_model
from simlora.scenario.schema import ModelChoice
from simlora.timing.parameters import StepParameters
from simlora.timing.profile import Feature, Profile, Provenance
from simlora.timing.roofline import Efficiency, roofline_parameters

if TYPE_CHECKING:
    from simlora.engine.bench import Bench, StepSize

Told = Callable[[str, int, int], None]  # what has been measured, how many, of how many
SAVE_EVERY_S = 10.0
# Each step is measured in so many rounds, as the budget allows, minutes apart; the middle one
# counts, so that neither a busy minute nor a quiet one of a shared machine does.
ROUNDS = 3
DOUBTFUL = 0.3  # median error on steps left out of the fit
SAME_MEMORY = 0.15  # relative difference up to which two GPUs of a name are the same


@dataclass(frozen=True, slots=True)
class Machine:
    """What to measure. `budget_s`: seconds after which measuring ends, complete or not."""

    model: str
    device: str
    gpu: str
    tensor_parallel: int = 1
    budget_s: float = 420.0
    extent: Extent | None = None  # None: what suits the device


@dataclass(frozen=True, slots=True)
class Measured:
    """A profile of this machine. `errors`: relative errors of steps that were not fitted, of all
    and of those with and without prefill; `copies`: bytes and seconds of an adapter's way, by part;
    `missing`: steps that the budget did not suffice for."""

    profile: Profile
    fit: Fit
    residuals: ErrorSummary | None
    errors: Mapping[str, ErrorSummary]
    loads: LoadsFit
    copies: Mapping[str, list[tuple[int, float]]]
    table: Path
    steps: int
    missing: int
    warnings: tuple[str, ...]


# Parts of the names by which devices call themselves, those that contain others first.
_DEVICES = {
    "GH200": "gh200",
    "B200": "b200",
    "H200": "h200",
    "H100": "h100-80gb",
    "H100 ": "h100-64gb",
    "A100-SXM4-40GB": "a100-40gb",
    "A100-PCIE-40GB": "a100-40gb",
    "A100": "a100-80gb",
    "L40S": "l40s",
    "A10G": "a10g",
    "RTX 4090": "rtx-4090",
}


def catalog_gpu(device: str, memory_gib: float) -> str:
    """The catalog's name of a device. Raises UserError if it has none."""
    for part, name in _DEVICES.items():
        if part in device and abs(load_gpu(name).memory_gib / memory_gib - 1) < SAME_MEMORY:
            return name
    raise UserError(
        f'--gpu: the device calls itself "{device}" and has {memory_gib:g} GiB; say which of the '
        "catalog it is"
    )


def table_path(out: Path) -> Path:
    """Where the measurements lie that the profile `out` is fitted to."""
    return out.with_name(f"{out.stem if out.suffix == '.json' else out.name}.parquet")


def calibrate_machine(
    machine: Machine, name: str, out: Path, told: Told = lambda *_: None
) -> Measured:
    """Measure, keeping what has been measured in the Parquet table beside `out`; fit and judge.

    A table of an earlier, interrupted call is taken up where it ended. Raises UserError if the
    device is not there or too small, the table is of something else, or too little was measured.
    """
    from simlora.engine.bench import Bench, check_device, device_facts, free_bytes

    started_s = time.perf_counter()
    check_device(machine.device)
    gpu, model = load_gpu(machine.gpu), load_model(ModelChoice(name=machine.model))
    extent = machine.extent or (GPU if machine.device == "cuda" else CPU)
    extent = within(
        extent, model, machine.tensor_parallel, free_bytes(machine.device), machine.device == "cpu"
    )
    judged = steps_to_judge(extent)
    fitted = steps_to_fit(extent)
    steps = _interleaved(fitted, judged)
    table = Records(
        table_path(out),
        device_facts(machine.device)
        | {
            "model": machine.model,
            "tensor_parallel": str(machine.tensor_parallel),
            "simlora": __version__,
        },
    )
    bench = Bench(model, machine.device, machine.tensor_parallel, steps)
    missing = _measure(bench, steps, set(judged), extent, table, machine.budget_s, told)
    rows, shapes = table.steps(fitted)
    held_out, held_out_shapes = table.steps(judged)
    fit = _fit(rows, len(steps) - missing, len(steps))
    errors = _errors(held_out, held_out_shapes, fit)
    ranks, seconds = table.loads()
    # A simulation charges a load by the adapter's bytes in bf16, whatever was really copied.
    loads = fit_load_times(
        np.array([2.0 * model.lora_parameters(rank, "all-linear") for rank in ranks]),
        np.array(seconds),
        host_bytes_per_s(gpu, machine.tensor_parallel),
    )
    overall = errors.get("step")
    profile = Profile(
        name=name,
        server=f"simlora {__version__} engine on {table.facts['device']}",
        gpu=machine.gpu,
        model=machine.model,
        tensor_parallel=machine.tensor_parallel,
        preset="simlora",
        padded=False,
        step=_with_all_reduces(fit.parameters, gpu, model, machine.tensor_parallel),
        load=loads.load,
        holds_for=_ranges(shapes, [size for size in fitted if table.rounds(size)]),
        error={"step_median": overall.median, "step_smape": overall.smape} if overall else {},
        provenance=Provenance(
            source=", ".join(f"{key} {value}" for key, value in table.facts.items()),
            rows=len(rows) + len(held_out) + len(ranks),
            fitted_s=round(time.perf_counter() - started_s, 3),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            simlora=__version__,
        ),
    )
    hurried = sum(0 < table.rounds(size) < ROUNDS for size in steps)
    return Measured(
        profile,
        fit,
        summarize(fit.errors),
        errors,
        loads,
        table.copies(),
        table.path,
        len(rows),
        missing,
        tuple(_warnings(missing, hurried, overall)),
    )


def _fit(rows: Rows, measured: int, steps: int) -> Fit:
    """Raises UserError if the budget did not suffice for a fit."""
    try:
        if len(rows):
            return fit_steps(rows, {})
    except UserError:
        if measured == steps:
            raise
    raise UserError(
        f"--budget: only {measured} of {steps} steps are measured, too few to fit; call again with "
        "the same --out, or with more seconds"
    )


def _errors(rows: Rows, shapes: Shapes, fit: Fit) -> dict[str, ErrorSummary]:
    """Errors of steps that were not fitted. Those with prefill are not replayed as graphs on a GPU,
    so they are told apart."""
    if not len(rows):
        return {}
    errors = rows.predict(fit.parameters) / rows.seconds - 1
    prefill = shapes.prefill_attended_tokens > 0
    kinds = {
        "step": errors,
        "decode step": np.where(prefill, np.nan, errors),
        "step with prefill": np.where(prefill, errors, np.nan),
    }
    found = {kind: summarize(of_kind) for kind, of_kind in kinds.items()}
    return {kind: summary for kind, summary in found.items() if summary is not None}


def _warnings(missing: int, hurried: int, overall: ErrorSummary | None) -> Iterator[str]:
    if missing:
        yield (
            f"{missing} steps were not measured within --budget; call again with the same --out to "
            "go on"
        )
    if hurried:
        yield (
            f"{hurried} steps were measured in fewer than {ROUNDS} rounds, so whatever else the "
            "machine did may be in their times; call again with the same --out to go on"
        )
    if overall is None:
        yield "no step was left out of the fit, so nothing tells how good it is"
    elif overall.median > DOUBTFUL:
        yield (
            f"steps left out of the fit are missed by {overall.median:.0%} at the median: do not "
            "trust this profile; was the machine busy with something else?"
        )


def _interleaved(fitted: Sequence[StepSize], judged: Sequence[StepSize]) -> list[StepSize]:
    """All steps, those to judge by evenly among the others."""
    places = np.linspace(0, len(fitted), len(judged), endpoint=False)
    order = np.argsort(np.concatenate([np.arange(len(fitted)), places]), kind="stable")
    everything = [*fitted, *judged]
    return [everything[index] for index in order]


def _measure(
    bench: Bench,
    steps: Sequence[StepSize],
    judged: set[StepSize],
    extent: Extent,
    table: Records,
    budget_s: float,
    told: Told,
) -> int:
    """Measure what the table lacks; returns how many steps it lacks still."""
    started_s = saved_s = time.perf_counter()
    total = len(extent.ranks) + ROUNDS * len(steps)
    done = 0
    try:
        with tempfile.TemporaryDirectory(prefix="simlora-") as folder:
            for rank in extent.ranks:
                told(f"rank {rank}: copies", done, total)
                done += 1
                if not table.has_copies(rank):
                    for part, (nbytes, times) in bench.copies(rank, Path(folder)).items():
                        table.add_copy(rank, part, nbytes, times)
        for number, size in product(range(ROUNDS), steps):
            told(_words(size), done, total)
            done += 1
            if table.rounds(size) > number:
                continue
            if time.perf_counter() - started_s > budget_s:
                break
            shape, times = bench.step(size)
            table.add_step(size, "judge" if size in judged else "fit", shape, times)
            if time.perf_counter() - saved_s > SAVE_EVERY_S:
                table.save()
                saved_s = time.perf_counter()
    finally:
        table.save()  # also when interrupted
    return sum(not table.rounds(size) for size in steps)


def _words(size: StepSize) -> str:
    parts = []
    if size.decodes:
        parts.append(f"{size.decodes} decodes at {size.context_tokens}")
    if size.prefills:
        parts.append(f"{size.prefills} x {size.chunk_tokens} prompt tokens")
    if size.ranks:
        parts.append(f"{len(size.ranks)} adapters")
    return ", ".join(parts)


def _with_all_reduces(
    step: StepParameters, gpu: GpuSpec, model: ModelSpec, gpus: int
) -> StepParameters:
    """One GPU's share was measured by itself: all-reduces are added by the roofline."""
    if gpus == 1:
        return step
    alone, together = (
        roofline_parameters(gpu, model, "bf16", number, Efficiency()) for number in (1, gpus)
    )
    return step.model_copy(
        update={
            "fixed_s": step.fixed_s + together.fixed_s - alone.fixed_s,
            "token_s": step.token_s + together.token_s,
        }
    )


def _ranges(shapes: Shapes, measured: Sequence[StepSize]) -> dict[Feature, tuple[float, float]]:
    """What was measured, as a profile says it."""
    features = {
        "tokens": shapes.tokens,
        "running": shapes.sequences,
        "attended_tokens": shapes.decode_attended_tokens,
        "distinct_adapters": shapes.distinct_adapters,
    }
    ranges = {name: (float(v.min()), float(v.max())) for name, v in features.items()}
    if ranks := [rank for size in measured for rank in size.ranks]:
        ranges["max_rank"] = (float(min(ranks)), float(max(ranks)))
    return cast(dict[Feature, tuple[float, float]], ranges)
