"""Published runs of vLLM with LoRA, read from `bsc_system_*.csv`.

The layout is that of the measurements of the Barcelona Supercomputing Center (arXiv 2508.08343):
one row a server run, lists joined by `|`, units in the columns' names.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simlora.errors import UserError

# Our name of a measured figure: the column, and what one of its units is in ours.
MEASURED = {
    "total_tokens_per_s": ("total_throughput_tps", 1.0),
    "output_tokens_per_s": ("output_throughput_tps", 1.0),
    "requests_per_s": ("request_throughput_rps", 1.0),
    "ttft_mean_s": ("mean_ttft_ms", 1e-3),
    "ttft_median_s": ("median_ttft_ms", 1e-3),
    "tpot_mean_s": ("mean_tpot_ms", 1e-3),
    "itl_mean_s": ("mean_itl_ms", 1e-3),
    "running_mean": ("running_mean", 1.0),
}
INFEASIBLE = ("oom", "kv_too_small", "no_kv_memory")
_REQUIRED = (
    "run_id",
    "config_id",
    "base_model",
    "vllm_engine",
    "max_loras_slots",
    "max_lora_rank",
    "max_num_seqs",
    "n_adapters",
    "adapter_rank_list",
    "adapter_rate_list_rps",
    "dataset",
    "window_s",
    "status",
)


@dataclass(frozen=True, slots=True)
class BscRun:
    """One server run: what was asked of it, and what was measured (`measured` is empty where the
    server refused to start). `ranks` and `rates_rps` are dealt out to the adapters in turn."""

    run_id: str
    config_id: int
    model: str
    engine: str
    slots: int
    adapters: int
    max_rank: int
    max_num_seqs: int
    ranks: tuple[int, ...]
    rates_rps: tuple[float, ...]
    dataset: str
    window_s: float
    status: str
    regime: str = ""
    client_capped: bool = False  # the client could open no more connections
    client_lagged: bool = False  # the client drained tokens in clumps: use TPOT, not ITL
    kv_cache_tokens: int | None = None  # to check predictions with, never to make them
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """Whether the server started."""
        return self.status == "ok"

    @property
    def is_v1(self) -> bool:
        """Whether the server ran vLLM's V1 engine."""
        return self.engine.startswith("V1")


def read_runs(path: Path) -> list[BscRun]:
    """The runs of a file.

    Raises:
        UserError: it cannot be read, lacks a column, or holds a value that is none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path}: is no table of BSC runs, column {missing[0]!r} is missing; "
                    f"needed are {', '.join(_REQUIRED)}"
                )
            runs = [_run(_Row(path, reader.line_num, row)) for row in reader]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file: {error}") from None
    if not runs:
        raise UserError(f"{path}: holds no run, only a header")
    return runs


def held_out(runs: Sequence[BscRun], share: float, seed: int) -> list[BscRun]:
    """The fixed `share` of the configurations that a fit with this split must not have seen.

    Repeated runs of one configuration stay together.
    """
    ids = sorted({run.config_id for run in runs})
    random.Random(seed).shuffle(ids)
    chosen = set(ids[: round(share * len(ids))])
    return [run for run in runs if run.config_id in chosen]


class _Row:
    """One line of the file, and sentences about it."""

    def __init__(self, path: Path, line: int, cells: dict[str, str | None]) -> None:
        self.place = f"{path}:{line}"
        self._cells = cells

    def text(self, name: str) -> str:
        return (self._cells.get(name) or "").strip()

    def number(self, name: str, default: float | None = None) -> float:
        return self._number(name, self.text(name), default)

    def count(self, name: str, default: float | None = None) -> int:
        value = self.number(name, default)
        if value < 1 or value != int(value):
            raise UserError(f"{self.place}: {name}: must be a whole number above 0, not {value:g}")
        return int(value)

    def numbers(self, name: str) -> tuple[float, ...]:
        values = tuple(self._number(name, part, None) for part in self.text(name).split("|"))
        if min(values) <= 0:
            raise UserError(f"{self.place}: {name}: must be above 0, not {min(values):g}")
        return values

    def _number(self, name: str, text: str, default: float | None) -> float:
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"{self.place}: {name}: must be a number, not {text!r}")
        return value


def _run(row: _Row) -> BscRun:
    status = row.text("status")
    if status != "ok" and status not in INFEASIBLE:
        allowed = ", ".join(("ok", *INFEASIBLE))
        raise UserError(f"{row.place}: status: must be one of {allowed}, not {status!r}")
    measured = {
        name: row.number(column) * unit
        for name, (column, unit) in MEASURED.items()
        if status == "ok" and row.text(column)
    }
    negative = [name for name, value in measured.items() if value < 0]
    if negative:
        column = MEASURED[negative[0]][0]
        raise UserError(f"{row.place}: {column}: must not be negative")
    kv_tokens = row.number("kv_cache_tokens", 0.0)
    return BscRun(
        run_id=row.text("run_id"),
        config_id=int(row.number("config_id")),
        model=row.text("base_model"),
        engine=row.text("vllm_engine"),
        slots=row.count("max_loras_slots"),
        adapters=row.count("n_adapters"),
        max_rank=row.count("max_lora_rank"),
        max_num_seqs=row.count("max_num_seqs"),
        ranks=tuple(int(rank) for rank in row.numbers("adapter_rank_list")),
        rates_rps=row.numbers("adapter_rate_list_rps"),
        dataset=row.text("dataset"),
        window_s=row.count("window_s"),
        status=status,
        regime=row.text("load_regime") or ("" if status == "ok" else "infeasible"),
        client_capped=row.number("flag_client_queue_cap", 0.0) > 0,
        client_lagged=row.number("flag_client_lag", 0.0) > 0,
        kv_cache_tokens=int(kv_tokens) or None,
        measured=measured,
    )
