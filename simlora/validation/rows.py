"""Published runs of vLLM with LoRA, read from `bsc_system_*.csv`.

The layout is that of the measurements of the Barcelona Supercomputing Center (arXiv 2508.08343):
one row a server run, lists joined by `|`, units in the columns' names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simlora.scenario.problems import one_of
from simlora.validation.cells import LARGEST_COUNT, LARGEST_RANK, Row, read_rows

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
# Whether the server kept up with what was offered; told of the runs that started.
REGIMES = ("underloaded", "overloaded", "heavily_overloaded")
LARGEST_RATE_RPS = 1_000_000
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
    return [_run(row) for row in read_rows(path, "BSC runs", _REQUIRED)]


def held_out(runs: Sequence[BscRun], share: float, seed: int) -> list[BscRun]:
    """The fixed `share` of the configurations that a fit with this split must not have seen.

    Repeated runs of one configuration stay together.
    """
    ids = sorted({run.config_id for run in runs})
    random.Random(seed).shuffle(ids)
    chosen = set(ids[: round(share * len(ids))])
    return [run for run in runs if run.config_id in chosen]


def _run(row: Row) -> BscRun:
    status = row.text("status")
    if status != "ok" and status not in INFEASIBLE:
        raise row.wrong("status", f"must be one of {one_of(('ok', *INFEASIBLE))}", status)
    regimes = REGIMES if status == "ok" else ("infeasible",)
    regime = row.text("load_regime")
    if regime and regime not in regimes:
        raise row.wrong("load_regime", f"must be {one_of(regimes)}", regime)
    measured = {
        name: row.number(column) * unit
        for name, (column, unit) in MEASURED.items()
        if status == "ok" and row.text(column)
    }
    return BscRun(
        run_id=row.text("run_id"),
        config_id=row.index("config_id"),
        model=row.text("base_model"),
        engine=row.text("vllm_engine"),
        slots=row.count("max_loras_slots", LARGEST_COUNT),
        adapters=row.count("n_adapters", LARGEST_COUNT),
        max_rank=row.count("max_lora_rank", LARGEST_RANK),
        max_num_seqs=row.count("max_num_seqs"),
        ranks=row.counts("adapter_rank_list", LARGEST_RANK),
        rates_rps=row.positives("adapter_rate_list_rps", LARGEST_RATE_RPS),
        dataset=row.text("dataset"),
        window_s=row.count("window_s"),
        status=status,
        regime=regime or ("" if status == "ok" else "infeasible"),
        client_capped=row.number("flag_client_queue_cap", 0.0) > 0,
        client_lagged=row.number("flag_client_lag", 0.0) > 0,
        kv_cache_tokens=int(row.number("kv_cache_tokens", 0.0)) or None,
        measured=measured,
    )
