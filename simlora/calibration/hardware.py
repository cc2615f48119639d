"""`calibrate` on the machine at hand: measure the engine's steps, fit a profile, judge it."""

from __future__ import annotations

import datetime
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from simlora import __version__
from simlora.calibration.design import Rows, Shapes, rows_of_steps
from simlora.calibration.fit import Fit, fit_steps
from simlora.calibration.grid import CPU, GPU, Extent, steps_to_fit, steps_to_judge
from simlora.calibration.judge import ErrorSummary, summarize
from simlora.calibration.loads import LoadsFit, fit_load_times, host_bytes_per_s
from simlora.errors import UserError
from simlora.scenario.catalog import GpuSpec, ModelSpec, load_gpu, load_model
from simlora.scenario.schema import ModelChoice
from simlora.timing.parameters import StepParameters
from simlora.timing.profile import Feature, Profile, Provenance
from simlora.timing.roofline import Efficiency, roofline_parameters

if TYPE_CHECKING:
    from simlora.engine.bench import Bench, StepSize, Times
    from simlora.serving.batch_shape import BatchShape

Told = Callable[[str, int, int], None]  # what has been measured, how many, of how many
SAVE_EVERY_S = 10.0
# Each step is measured in so many rounds, as the budget allows, minutes apart; the quickest round
# counts, since whatever else a machine does only ever adds to a time.
ROUNDS = 3


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
    """A profile of this machine. `errors`: relative errors of steps that were not fitted;
    `copies`: bytes and seconds of an adapter's way, by rank and part; `missing`: steps that the
    budget did not suffice for."""

    profile: Profile
    fit: Fit
    residuals: ErrorSummary | None
    errors: ErrorSummary | None
    loads: LoadsFit
    copies: Mapping[str, list[tuple[int, float]]]
    table: Path
    steps: int
    missing: int


# Parts of the names by which devices call themselves, those that contain others first.
_DEVICES = {
    "GH200": "gh200",
    "B200": "b200",
    "H200": "h200",
    "H100": "h100-80gb",
    "A100-SXM4-40GB": "a100-40gb",
    "A100-PCIE-40GB": "a100-40gb",
    "A100": "a100-80gb",
    "L40S": "l40s",
    "A10G": "a10g",
    "RTX 4090": "rtx-4090",
}


def catalog_gpu(device: str) -> str:
    """The catalog's name of a device. Raises UserError if it has none."""
    for part, name in _DEVICES.items():
        if part in device:
            return name
    raise UserError(f'--gpu: the device calls itself "{device}"; say which of the catalog it is')


def calibrate_machine(
    machine: Machine, name: str, out: Path, told: Told = lambda *_: None
) -> Measured:
    """Measure, keeping what has been measured in the Parquet table beside `out`; fit and judge.

    A table of an earlier, interrupted call is taken up where it ended. Raises UserError if the
    device is not there, or the table is of something else.
    """
    from simlora.engine.bench import Bench, device_facts

    started_s = time.perf_counter()
    gpu, model = load_gpu(machine.gpu), load_model(ModelChoice(name=machine.model))
    extent = machine.extent or (GPU if machine.device == "cuda" else CPU)
    judged = steps_to_judge(extent)
    steps = _interleaved(steps_to_fit(extent), judged)
    table = Records(
        out.with_suffix(".parquet"),
        device_facts(machine.device)
        | {
            "model": machine.model,
            "tensor_parallel": str(machine.tensor_parallel),
            "simlora": __version__,
        },
    )
    bench = Bench(model, machine.device, machine.tensor_parallel, steps)
    missing = _measure(bench, steps, set(judged), extent, table, machine.budget_s, told)
    rows, shapes = table.steps("fit")
    held_out, _ = table.steps("judge")
    fit = fit_steps(rows, {})
    errors = summarize(held_out.predict(fit.parameters) / held_out.seconds - 1)
    copies = table.copies()
    uploads = np.array(copies["upload"])
    loads = fit_load_times(
        uploads[:, 0] * machine.tensor_parallel,
        uploads[:, 1],
        host_bytes_per_s(gpu, machine.tensor_parallel),
    )
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
        holds_for=_ranges(shapes, extent),
        error={"step_median": errors.median, "step_smape": errors.smape} if errors else {},
        provenance=Provenance(
            source=", ".join(f"{key} {value}" for key, value in table.facts.items()),
            rows=len(rows) + len(held_out) + len(uploads),
            fitted_s=round(time.perf_counter() - started_s, 3),
            date=datetime.datetime.now(datetime.UTC).date().isoformat(),
            simlora=__version__,
        ),
    )
    residuals = summarize(fit.errors)
    return Measured(profile, fit, residuals, errors, loads, copies, table.path, len(rows), missing)


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


class Records:
    """The measured table: one row a step or copy, in a Parquet file that says what it is of."""

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self.facts = dict(facts)
        self._rows: list[dict[str, Any]] = []
        if not path.exists():
            return
        try:
            found = pq.read_table(path)
            theirs = json.loads((found.schema.metadata or {}).get(b"simlora", b"null"))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        if theirs != self.facts:
            raise UserError(
                f"{path}: holds measurements of something else ({theirs}); remove it, or choose "
                "another --out"
            )
        self._rows = found.to_pylist()

    def save(self) -> None:
        """Write all rows; the file is replaced in one go."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._rows:
            return
        table = pa.Table.from_pylist(self._rows)
        part = self.path.with_suffix(".parquet.part")
        pq.write_table(table.replace_schema_metadata({"simlora": json.dumps(self.facts)}), part)
        part.replace(self.path)

    def rounds(self, size: StepSize) -> int:
        """How often a step has been measured."""
        key = _key(size)
        return sum(row["size"] == key for row in self._rows)

    def has_copies(self, rank: int) -> bool:
        return any(row["kind"] != "step" and row["rank"] == rank for row in self._rows)

    def add_step(self, size: StepSize, role: str, shape: BatchShape, times: Times) -> None:
        self._rows.append(
            {"kind": "step", "size": _key(size), "role": role, "rank": None, "bytes": None}
            | asdict(shape)
            | asdict(times)
        )

    def add_copy(self, rank: int, part: str, nbytes: int, times: Times) -> None:
        from simlora.serving.batch_shape import BatchShape

        nothing = dict.fromkeys(asdict(BatchShape()))
        self._rows.append(
            {"kind": part, "size": None, "role": None, "rank": rank, "bytes": nbytes}
            | nothing
            | asdict(times)
        )

    def steps(self, role: str) -> tuple[Rows, Shapes]:
        """The steps of a role as rows to fit, each by its quickest round. Raises UserError if there
        is none."""
        best: dict[str, dict[str, Any]] = {}
        for row in self._rows:
            if row["role"] == role:
                known = best.setdefault(row["size"], row)
                if row["median_s"] < known["median_s"]:
                    best[row["size"]] = row
        rows = list(best.values())
        if not rows:
            raise UserError(f"{self.path}: no step was measured; give a larger --budget")

        def column(name: str) -> np.ndarray:
            return np.array([row[name] for row in rows], dtype=np.float64)

        shapes = Shapes(
            tokens=column("prefill_tokens") + column("decode_seqs"),
            sequences=column("prefill_seqs") + column("decode_seqs"),
            decode_attended_tokens=column("decode_attended_tokens"),
            prefill_attended_tokens=column("prefill_attended_tokens"),
            passed_over=column("passed_over"),
            lora_tokens=column("lora_tokens"),
            lora_token_parameters=column("lora_token_parameters"),
            distinct_adapters=column("distinct_adapters"),
            distinct_adapter_parameters=column("distinct_adapter_parameters"),
            slots=np.zeros(len(rows)),
        )
        return rows_of_steps(shapes, column("median_s"), np.ones(len(rows))), shapes

    def copies(self) -> dict[str, list[tuple[int, float]]]:
        """Bytes and median seconds of the parts of an adapter's way."""
        found: dict[str, list[tuple[int, float]]] = {}
        for row in self._rows:
            if row["kind"] != "step":
                found.setdefault(row["kind"], []).append((row["bytes"], row["median_s"]))
        return found


def _key(size: StepSize) -> str:
    return json.dumps(asdict(size))


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


def _ranges(shapes: Shapes, extent: Extent) -> dict[Feature, tuple[float, float]]:
    """What was measured, as a profile says it."""
    measured = {
        "tokens": shapes.tokens,
        "running": shapes.sequences,
        "attended_tokens": shapes.decode_attended_tokens,
        "distinct_adapters": shapes.distinct_adapters,
    }
    ranges = {name: (float(v.min()), float(v.max())) for name, v in measured.items()}
    ranges["max_rank"] = (float(min(extent.ranks)), float(max(extent.ranks)))
    return cast(dict[Feature, tuple[float, float]], ranges)
