"""The recipe for published runs of S-LoRA: `slora_*.csv`, one row a run of its benchmark.

The benchmark's requests are drawn again with the generator and in the order of its own
`benchmarks/trace.py` (legacy numpy generator, seed 42: adapters, input lengths, output lengths,
gaps), so a prediction meets the very arrivals that were measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simlora.errors import UserError
from simlora.results.recorder import Recorder
from simlora.results.result import scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.problems import one_of
from simlora.scenario.schema import Scenario
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Simulation
from simlora.validation.cells import (
    LARGEST_COUNT,
    LARGEST_RANK,
    Row,
    plain_number,
    read_rows,
)
from simlora.validation.recipe import checked
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
LARGEST_POOL = 1_000_000_000  # tokens
LARGEST_LENGTH = 1_000_000
MEASURED = {
    "requests_per_s": "throughput_rps",
    "latency_mean_s": "avg_latency_s",
    "first_token_mean_s": "avg_first_token_latency_s",
}
_REQUIRED = (
    "method",
    "num_adapters",
    "cv",
    "input_tokens_range",
    "output_tokens_range",
    "setting",
    "gpu",
    "base_model",
    "adapter_ranks",
    "alpha",
    "req_rate_rps",
    "duration_s",
    "launch_num_token_pool",
    *MEASURED.values(),
)


@dataclass(frozen=True, slots=True)
class SLoraRun:
    """One run of S-LoRA: what was asked of it and what was measured (by the names of MEASURED).

    `place`: file and line. `pool_tokens`: size of the unified pool; None where the repository does
    not state it.
    """

    place: str
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
    def requests(self) -> int:
        """How many requests the benchmark sends."""
        return int(self.rate_rps * self.duration_s)

    @property
    def regime(self) -> str:
        """Whether the server kept up with its requests."""
        kept_up = self.measured["requests_per_s"] > 0.9 * self.rate_rps
        return "underloaded" if kept_up else "overloaded"


def read_runs(path: Path) -> list[SLoraRun]:
    """The synthetic runs of S-LoRA itself in a file. Its baselines are left out, and so are runs
    without an adapter and those of real traces, whose requests are not in the repository.

    Raises:
        UserError: it cannot be read, lacks a column, holds a value that is none, or no such run.
    """
    rows = [row for row in read_rows(path, "S-LoRA runs", _REQUIRED) if _is_synthetic(row)]
    if not rows:
        raise UserError(f"{path}: holds no run of S-LoRA")
    return _with_known_pools([_run(row) for row in rows])


def _is_synthetic(row: Row) -> bool:
    adapters = row.text("num_adapters")
    return (
        row.text("method") == "slora"
        and adapters != ""
        and plain_number(adapters) != 0
        and row.text("cv") != ""
    )


def _run(row: Row) -> SLoraRun:
    run = SLoraRun(
        place=row.place,
        setting=row.text("setting"),
        gpu=_known(row, "gpu", GPUS),
        model=_known(row, "base_model", MODELS),
        ranks=row.counts("adapter_ranks", LARGEST_RANK),
        adapters=row.count("num_adapters", LARGEST_COUNT),
        alpha=row.positive("alpha", 1000),
        rate_rps=row.positive("req_rate_rps", 1_000_000),
        cv=row.positive("cv", 100),
        duration_s=row.positive("duration_s", 1_000_000),
        input_tokens=_range(row, "input_tokens_range"),
        output_tokens=_range(row, "output_tokens_range"),
        pool_tokens=row.count("launch_num_token_pool", LARGEST_POOL)
        if row.text("launch_num_token_pool")
        else None,
        measured={name: row.positive(column) for name, column in MEASURED.items()},
    )
    if not 1 <= run.requests <= LARGEST_COUNT:
        what = "no request" if run.requests < 1 else f"more than {LARGEST_COUNT:,} requests"
        raise UserError(
            f"{row.place}: duration_s: asks for {what}: {run.rate_rps:g} a second for "
            f"{run.duration_s:g} s"
        )
    return run


def _known(row: Row, name: str, names: dict[str, str]) -> str:
    theirs = row.text(name)
    if theirs not in names:
        raise row.wrong(name, f"must be one of {one_of(names)}", theirs)
    return names[theirs]


def _range(row: Row, name: str) -> tuple[int, int]:
    bounds = row.counts(name, LARGEST_LENGTH)
    if len(bounds) != 2 or bounds[0] >= bounds[1]:
        raise row.wrong(name, "must be two lengths FROM|TO, FROM below TO", row.text(name))
    return bounds[0], bounds[1]


def _with_known_pools(runs: list[SLoraRun]) -> list[SLoraRun]:
    """Where a run does not state its pool, another of the same setting and GPU may."""
    known = {(run.setting, run.gpu): run.pool_tokens for run in runs if run.pool_tokens}
    return [
        replace(run, pool_tokens=run.pool_tokens or known.get((run.setting, run.gpu)))
        for run in runs
    ]


def scenario_of(run: SLoraRun, profile: str | None = None) -> Scenario:
    """The scenario of a run; `profile` replaces the shipped one of its GPU.

    Raises UserError, which names file and line, for what no scenario may say.
    """
    longest_tokens = max(MAX_MODEL_LEN, run.input_tokens[1] + run.output_tokens[1] - 2)
    prefill_tokens = max(longest_tokens, (run.pool_tokens or 0) // PREFILL_SHARE)
    return checked(
        run.place,
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
                "max_model_len": longest_tokens,
                "memory": {"utilization": 1.0, "kv_cache_tokens": run.pool_tokens},
            },
            "adapters": {"initial_tier": "warm", "warm": {"capacity_gb": 10_000}},
            "timing": {"profile": profile or PROFILES[run.gpu]},
        },
    )


def traffic_of(run: SLoraRun) -> Traffic:
    """The benchmark's requests, drawn as it draws them."""
    random = np.random.RandomState(SEED)
    count = run.requests
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


@dataclass(frozen=True, slots=True)
class Prediction:
    """`metrics` by the names of MEASURED. `extrapolates`: in what the run went beyond its profile's
    measurements; `scaled_from`: what those were of, if of other hardware or another model."""

    metrics: dict[str, float]
    extrapolates: tuple[str, ...]
    scaled_from: str | None


def predict(run: SLoraRun, profile: str | None = None) -> Prediction:
    """What simlora says of a run. Raises UserError, which names file and line, if it cannot be."""
    scenario = scenario_of(run, profile)
    try:
        return _simulate(expand(scenario), traffic_of(run))
    except UserError as error:
        raise UserError(f"{run.place}: {error}") from None


def judge(runs: list[SLoraRun], profile: str | None = None) -> dict[str, dict[str, float]]:
    """By GPU and over all: the number of runs, how many of them go beyond their profile and how
    many are timed by one that is scaled, and the mean relative error of each figure."""
    predictions = [predict(run, profile) for run in runs]
    judged = {}
    for gpu in (*sorted({run.gpu for run in runs}), "all"):
        pairs = [
            (run, one)
            for run, one in zip(runs, predictions, strict=True)
            if gpu in ("all", run.gpu)
        ]
        judged[gpu] = {
            "runs": len(pairs),
            "extrapolating_runs": sum(bool(one.extrapolates) for _, one in pairs),
            "scaled_runs": sum(one.scaled_from is not None for _, one in pairs),
        } | {
            name: _mean(abs(one.metrics[name] / run.measured[name] - 1) for run, one in pairs)
            for name in MEASURED
        }
    return judged


def _simulate(deployment: Deployment, traffic: Traffic) -> Prediction:
    with scratch_directory() as directory:
        recorder = Recorder(deployment, Path(directory), warmup_s=0.0)
        simulation = Simulation(deployment, traffic, recorder)
        if simulation.run():
            raise KeyboardInterrupt
        done = [request for request in recorder.pending if request.finish_s >= 0]
        timing = gather_facts(deployment, simulation, 0.0, interrupted=False).timing
    if not done:
        raise UserError("the server completes none of the requests")
    metrics = {
        "requests_per_s": len(done) / max(request.finish_s for request in done),
        "latency_mean_s": _mean(request.finish_s - request.arrival_s for request in done),
        "first_token_mean_s": _mean(request.first_token_s - request.arrival_s for request in done),
    }
    return Prediction(metrics, timing.extrapolates, timing.scaled_from)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(np.fromiter(values, np.float64)))
