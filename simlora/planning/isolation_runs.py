"""The simulations that judge a mode of isolation: one with the attacker, others without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simlora.errors import UserError
from simlora.planning.attack import draw_probes, with_probes
from simlora.planning.harm import without
from simlora.results import files
from simlora.results.arrays import Floats, Ints
from simlora.results.recorder import Recorder
from simlora.results.result import Result, scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Simulation
from simlora.workload.blocks import RequestBlock, Traffic
from simlora.workload.traffic import open_traffic


@dataclass(frozen=True, slots=True)
class Time:
    """Of each probe, in order of arrival: seconds to its first token as the client sees it (NaN: it
    was not answered), and prompt tokens that the prefix cache had."""

    ttft_s: Floats
    cached_tokens: Ints


@dataclass(frozen=True, slots=True)
class Price:
    """What the other tenants' requests take under one mode, without the attacker.

    `busy_gpu_s` are the seconds in which a replica computed, times its GPUs. Dollars are those
    seconds at the GPUs' prices, over the output tokens: what serving took, however long the fleet
    idled beside it. Output tokens are the same in all modes, so any other unit of work would give
    the same differences in per cent. None: nothing was completed.

    Busy seconds, dollars, the prefix cache's hits and `completed` are of the whole run; output
    tokens a second and TTFT are of the requests that arrived after the warm-up.
    """

    mode: str
    output_tokens_per_s: float | None
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    prefix_hit_ratio: float | None
    busy_gpu_s: float
    usd_per_million_output_tokens: float | None
    completed: int


def attacked(scenario: Scenario, attacker: int, probes: int) -> Time | None:
    """Simulate a scenario under attack; `attacker` is the index of a tenant whose own requests are
    left out. None: the run was interrupted. Raises UserError as `draw_probes` does."""
    deployment = expand(scenario)
    others = without(open_traffic(deployment), attacker)
    drawn = draw_probes(deployment, others, attacker, probes)
    traffic = with_probes(deployment, others, attacker, drawn)
    with scratch_directory() as scratch:
        result, _ = _simulate(deployment, traffic, Path(scratch))
        if result.summary["simulation"]["interrupted"]:
            return None
        columns = ["request", "tenant", "ttft_s", "cached_tokens"]
        rows = pq.read_table(result.directory / files.REQUESTS, columns=columns)
        name = deployment.tenants[attacker].name
        rows = rows.filter(pc.equal(rows["tenant"].cast("string"), name)).sort_by("request")
        return Time(
            rows["ttft_s"].to_numpy().astype(np.float64),
            rows["cached_tokens"].to_numpy().astype(np.int64),
        )


def price(scenario: Scenario, attacker: int, rate: float) -> Price | None:
    """Simulate a scenario without a tenant's requests, all others `rate` times as fast; the warm-up
    is so many times shorter, so that the same requests are measured. None: the run was interrupted.
    Raises UserError if no other tenant's request arrives after the warm-up."""
    deployment = expand(scenario)
    traffic = without(open_traffic(deployment), attacker)
    if rate != 1.0:
        deployment, traffic = _sped_up(deployment, traffic, rate)
    with scratch_directory() as scratch:
        result, simulation = _simulate(deployment, traffic, Path(scratch))
        tokens = _completed_tokens(result)
    summary = result.summary
    if summary["simulation"]["interrupted"]:
        return None
    _check_measured(summary, scenario.run.warmup_s)
    busy_gpu_s = usd = 0.0
    for member in simulation.fleet.members:
        gpus = scenario.fleet[member.pool].tensor_parallel
        busy_s = gpus * sum(replica.busy_s for replica in member.lives)
        busy_gpu_s += busy_s
        usd += busy_s * deployment.gpus[member.pool].usd_per_hour / 3600
    return Price(
        "",
        summary["throughput"]["output_tokens_per_s"],
        summary["latency"]["ttft_s"]["p50"],
        summary["latency"]["ttft_s"]["p99"],
        summary["prefix_cache"]["hit_ratio"],
        busy_gpu_s,
        usd * 1e6 / tokens if tokens else None,
        summary["requests"]["completed"],
    )


def _simulate(
    deployment: Deployment, traffic: Traffic, directory: Path
) -> tuple[Result, Simulation]:
    warmup_s = deployment.scenario.run.warmup_s
    recorder = Recorder(deployment, directory, warmup_s=warmup_s)
    simulation = Simulation(deployment, traffic, recorder)
    interrupted = simulation.run()
    return recorder.close(gather_facts(deployment, simulation, 0.0, interrupted)), simulation


def _completed_tokens(result: Result) -> int:
    """Output tokens of the completed requests of the whole run, the warm-up included."""
    columns = ["status", "output_tokens"]
    rows = pq.read_table(result.directory / files.REQUESTS, columns=columns)
    rows = rows.filter(pc.equal(rows["status"].cast("string"), "completed"))
    return int(rows["output_tokens"].to_numpy().sum(dtype=np.int64))


def _check_measured(summary: dict[str, Any], warmup_s: float) -> None:
    if not any(tier["requests"]["offered"] for tier in summary["tiers"].values()):
        raise UserError(
            f"run.warmup_s: all {summary['requests']['offered']:,} requests of the other tenants "
            f"arrive in the warm-up of {warmup_s:g} s, so nothing is measured"
        )


def _sped_up(deployment: Deployment, traffic: Traffic, rate: float) -> tuple[Deployment, Traffic]:
    """Both with the arrivals and the end of the warm-up `rate` times as early."""
    # Copied, not expanded again: arrivals and warm-up are later than the scenario's own end if the
    # rate is below 1.
    scenario = deployment.scenario
    run = scenario.run.model_copy(update={"warmup_s": scenario.run.warmup_s / rate})
    deployment = replace(deployment, scenario=scenario.model_copy(update={"run": run}))

    def blocks() -> Iterator[RequestBlock]:
        for block in traffic.blocks():
            yield replace(block, arrival_s=block.arrival_s / rate)

    duration_s = None if traffic.duration_s is None else traffic.duration_s / rate
    return deployment, Traffic(
        blocks, traffic.total_requests, duration_s, traffic.prefix_block_tokens
    )
