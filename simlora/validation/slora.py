"""The recipe for published runs of S-LoRA: `slora_*.csv`, one row a run of its benchmark.

The benchmark's requests are drawn again with the generator and in the order of its own
`benchmarks/trace.py` (legacy numpy generator, seed 42: adapters, input lengths, output lengths,
gaps), so a prediction meets the very arrivals that were measured.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simlora.errors import UserError
from simlora.results.recorder import Recorder
from simlora.results.result import scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.sim.simulation import Simulation
from simlora.workload.blocks import RequestBlock, Traffic

GPUS = {"A100 80GB": "a100-80gb", "A100 40GB": "a100-40gb", "A10G 24GB": "a10g"}
MODELS = {"llama-7b": "llama-2-7b", "llama-13b": "llama-2-13b"}
PROFILES = {
    "a100-80gb": "s-lora-a100-80gb-llama-2-7b",
    "a100-40gb": "s-lora-a100-80gb-llama-2-7b",
    "a10g": "s-lora-a10g-llama-2-7b",
}
SEED = 42
MAX_MODEL_LEN = 1024  # inputs and outputs are below 512 tokens each
# The router computes new prompts of up to this share of the pool in one step.
PREFILL_SHARE = 6
MEASURED = {
    "requests_per_s": "throughput_rps",
    "latency_mean_s": "avg_latency_s",
    "first_token_mean_s": "avg_first_token_latency_s",
}


@dataclass(frozen=True, slots=True)
class SLoraRun:
    """One run of S-LoRA: what was asked of it and what was measured (by the names of MEASURED).

    `pool_tokens`: size of the unified pool; None where the repository does not state it.
    """

    setting: str
    gpu: str
    model: str
    ranks: tuple[int, ...]
    adapters: int
    alpha: float  # adapter index = adapters * power(alpha); 1 is uniform
    rate_rps: float
    cv: float
    duration_s: float
    input_tokens: tuple[int, int]  # from, to (exclusive)
    output_tokens: tuple[int, int]
    pool_tokens: int | None
    measured: dict[str, float]

    @property
    def regime(self) -> str:
        """Whether the server kept up with its requests."""
        kept_up = self.measured["requests_per_s"] > 0.9 * self.rate_rps
        return "underloaded" if kept_up else "overloaded"


def read_runs(path: Path) -> list[SLoraRun]:
    """The synthetic runs of S-LoRA itself in a file; its baselines and runs of real traces, whose
    requests are not in the repository, are left out.

    Raises:
        UserError: it cannot be read, lacks a column or holds no such run.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get("method") == "slora"]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table of S-LoRA runs: {error}") from None
    try:
        runs = [_run(row) for row in rows if row["num_adapters"] and row["cv"]]
    except KeyError as error:
        raise UserError(f"{path}: is no table of S-LoRA runs, column {error} is missing") from None
    except ValueError as error:
        raise UserError(f"{path}: holds a value that is none: {error}") from None
    if not runs:
        raise UserError(f"{path}: holds no run of S-LoRA")
    return _with_known_pools(runs)


def _run(row: dict[str, str]) -> SLoraRun:
    low_in, high_in = row["input_tokens_range"].split("|")
    low_out, high_out = row["output_tokens_range"].split("|")
    return SLoraRun(
        setting=row["setting"],
        gpu=GPUS[row["gpu"]],
        model=MODELS[row["base_model"]],
        ranks=tuple(int(rank) for rank in row["adapter_ranks"].split("|")),
        adapters=int(float(row["num_adapters"])),
        alpha=float(row["alpha"]),
        rate_rps=float(row["req_rate_rps"]),
        cv=float(row["cv"]),
        duration_s=float(row["duration_s"]),
        input_tokens=(int(low_in), int(high_in)),
        output_tokens=(int(low_out), int(high_out)),
        pool_tokens=int(float(row["launch_num_token_pool"]))
        if row["launch_num_token_pool"]
        else None,
        measured={name: float(row[column]) for name, column in MEASURED.items()},
    )


def _with_known_pools(runs: list[SLoraRun]) -> list[SLoraRun]:
    """Where a run does not state its pool, another of the same setting and GPU may."""
    known = {(run.setting, run.gpu): run.pool_tokens for run in runs if run.pool_tokens}
    return [
        SLoraRun(
            **{name: getattr(run, name) for name in SLoraRun.__slots__ if name != "pool_tokens"},
            pool_tokens=run.pool_tokens or known.get((run.setting, run.gpu)),
        )
        for run in runs
    ]


def scenario_of(run: SLoraRun, profile: str | None = None) -> Scenario:
    """The scenario of a run; `profile` replaces the shipped one of its GPU."""
    prefill_tokens = max(MAX_MODEL_LEN, (run.pool_tokens or 0) // PREFILL_SHARE)
    return Scenario.model_validate(
        {
            "name": f"s-lora-{run.setting}-{run.gpu}",
            "model": run.model,
            "fleet": [{"gpu": run.gpu}],
            "tenants": [
                {
                    "name": f"rank{rank}-{place}",
                    "count": len(range(place, run.adapters, len(run.ranks))),
                    "adapter": {"rank": rank, "targets": "attention"},
                }
                for place, rank in enumerate(run.ranks)
                if place < run.adapters
            ],
            "workload": {"rate_rps": run.rate_rps, "duration_s": run.duration_s},
            "engine": {
                "preset": "s-lora",
                "max_num_batched_tokens": prefill_tokens,
                "max_model_len": MAX_MODEL_LEN,
                "memory": {"utilization": 1.0, "kv_cache_tokens": run.pool_tokens},
            },
            "adapters": {"initial_tier": "warm", "warm": {"capacity_gb": 10_000}},
            "timing": {"profile": profile or PROFILES[run.gpu]},
        }
    )


def traffic_of(run: SLoraRun) -> Traffic:
    """The benchmark's requests, drawn as it draws them."""
    random = np.random.RandomState(SEED)
    count = int(run.rate_rps * run.duration_s)
    place = (random.power(run.alpha, count) * run.adapters).astype(np.int64)
    prompt = random.randint(*run.input_tokens, count).astype(np.int32)
    output = random.randint(*run.output_tokens, count).astype(np.int32)
    arrival_s = np.cumsum(random.gamma(1 / run.cv**2, run.cv**2 / run.rate_rps, count))
    # Adapters take the ranks in turn; the scenario has them group by group.
    groups = [range(first, run.adapters, len(run.ranks)) for first in range(len(run.ranks))]
    index_of = np.empty(run.adapters, np.int32)
    index_of[[adapter for group in groups for adapter in group]] = np.arange(run.adapters)
    adapter = index_of[place]
    block = RequestBlock(
        arrival_s=arrival_s,
        tenant=adapter,
        adapter=adapter,
        prompt_tokens=prompt,
        output_tokens=output,
        session=np.full(count, -1, np.int64),
        priority=np.zeros(count, np.int16),
    )
    return Traffic(lambda: iter([block]), count, run.duration_s, prefix_block_tokens=1)


def predict(run: SLoraRun, profile: str | None = None) -> dict[str, float]:
    """What simlora says of a run, by the names of MEASURED."""
    deployment = expand(scenario_of(run, profile))
    return _simulate(deployment, traffic_of(run))


def judge(runs: list[SLoraRun], profile: str | None = None) -> dict[str, dict[str, float]]:
    """Mean relative error of each figure, by GPU and over all, with the number of runs."""
    errors: dict[str, list[list[float]]] = {}
    for run in runs:
        predicted = predict(run, profile)
        error = [abs(predicted[name] / run.measured[name] - 1) for name in MEASURED]
        errors.setdefault(run.gpu, []).append(error)
        errors.setdefault("all", []).append(error)
    return {
        gpu: {"runs": len(rows), **dict(zip(MEASURED, np.mean(rows, axis=0).tolist(), strict=True))}
        for gpu, rows in sorted(errors.items())
    }


def _simulate(deployment: Deployment, traffic: Traffic) -> dict[str, float]:
    with scratch_directory() as directory:
        recorder = Recorder(deployment, Path(directory), warmup_s=0.0)
        Simulation(deployment, traffic, recorder).run()
        done = [request for request in recorder.pending if request.finish_s >= 0]
    return {
        "requests_per_s": len(done) / max(request.finish_s for request in done),
        "latency_mean_s": _mean(request.finish_s - request.arrival_s for request in done),
        "first_token_mean_s": _mean(request.first_token_s - request.arrival_s for request in done),
    }


def _mean(values: object) -> float:
    return float(np.mean(np.fromiter(values, np.float64)))  # type: ignore[call-overload]
