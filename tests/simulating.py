"""Small simulations for the tests: scenarios, traffic by hand, and runs kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlora.results.recorder import Recorder
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import GIB, plan_memory
from simlora.serving.request import Request
from simlora.sim.simulation import Simulation
from simlora.workload.blocks import BLOCK_ROWS, RequestBlock, Traffic

PREFIX_BLOCK_TOKENS = 16
ROOMY_GIB = 64.0  # of a GPU on which nothing is short
LONGEST_RUN_S = 1e7


def small_scenario(**changes: Any) -> Scenario:
    """The tiny model on one roomy GPU named `mini`, four tenants; `changes` replace top fields."""
    return Scenario.model_validate(
        {
            "name": "small",
            "model": "tiny-llama",
            "fleet": [{"gpu": "mini"}],
            "catalog": {"gpus": {"mini": {"base": "a10g", "memory_gib": ROOMY_GIB}}},
            "tenants": [{"name": "tenant", "count": 4}],
            "workload": {"rate_rps": 1.0},
            "engine": {"max_model_len": 1024},
        }
        | changes
    )


def with_pool(scenario: Scenario, pages: int) -> Scenario:
    """The same with so little memory that `pages` or one more are left for the pool."""
    plan = plan_memory(expand(scenario), 0)
    surplus_bytes = (plan.pool_pages - pages) * plan.page_bytes - plan.page_bytes / 2
    memory_gib = ROOMY_GIB - surplus_bytes / GIB / scenario.engine.memory.utilization
    return scenario.with_overrides({"catalog.gpus.mini.memory_gib": memory_gib})


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a story; the tenant is the adapter's unless given."""

    arrival_s: float
    adapter: int = -1
    prompt_tokens: int = 10
    output_tokens: int = 1
    tenant: int | None = None
    hashes: tuple[int, ...] = ()


def traffic_of(
    deployment: Deployment, asks: Sequence[Ask], duration_s: float | None = None
) -> Traffic:
    """The asks as traffic, in blocks; a hash stands for `PREFIX_BLOCK_TOKENS` tokens."""
    tenants = [
        ask.tenant
        if ask.tenant is not None
        else deployment.adapters[ask.adapter].tenant
        if ask.adapter >= 0
        else 0
        for ask in asks
    ]
    return arrays_traffic(
        np.array([ask.arrival_s for ask in asks]),
        np.array(tenants),
        np.array([ask.adapter for ask in asks]),
        np.array([ask.prompt_tokens for ask in asks]),
        np.array([ask.output_tokens for ask in asks]),
        [list(ask.hashes) for ask in asks],
        duration_s=duration_s,
    )


def arrays_traffic(
    arrival_s: Any,
    tenant: Any,
    adapter: Any,
    prompt_tokens: Any,
    output_tokens: Any,
    hashes: list[list[int]] | None = None,
    *,
    duration_s: float | None = None,
    prefix_block_tokens: int = PREFIX_BLOCK_TOKENS,
) -> Traffic:
    """Columns as traffic."""
    count = len(arrival_s)

    def blocks() -> Iterator[RequestBlock]:
        for first in range(0, count, BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            yield RequestBlock(
                arrival_s[rows].astype(np.float64),
                tenant[rows].astype(np.int32),
                adapter[rows].astype(np.int32),
                prompt_tokens[rows].astype(np.int32),
                output_tokens[rows].astype(np.int32),
                np.full(len(arrival_s[rows]), -1, dtype=np.int64),
                np.zeros(len(arrival_s[rows]), dtype=np.int16),
                hashes[rows] if hashes is not None else None,
            )

    return Traffic(blocks, count, duration_s, prefix_block_tokens)


class Collector(Recorder):
    """Keeps the requests and gauges instead of writing files. The interval of samples must be a
    power of two, so that its multiples are exact."""

    def __init__(self, deployment: Deployment, sample_interval_s: float = 0.25) -> None:
        self.pending: list[Request] = []
        self.steps: list[StepLog] = []
        self.done: list[Request] = []
        self.gauges: list[tuple[float, ...]] = []
        self._deployment = deployment
        self._sample_interval_s = sample_interval_s

    @property
    def sample_interval_s(self) -> float:
        return self._sample_interval_s

    def sample(self, *gauges: float) -> None:  # type: ignore[override]
        assert gauges[0] < LONGEST_RUN_S, "the run does not end"
        assert not self.gauges or gauges[:2] != self.gauges[-1][:2], "time stands still"
        self.gauges.append(gauges)

    def flush(self) -> None:
        self.done += self.pending
        self.pending.clear()


@dataclass(slots=True)
class Finished:
    """A run that has ended; `requests` are in order of arrival."""

    requests: list[Request]
    simulation: Simulation
    collector: Collector

    @property
    def schedulers(self) -> list[Any]:
        return [replica.scheduler for replica in self.simulation.replicas]


def run(
    scenario: Scenario, traffic: Traffic | Sequence[Ask], sample_interval_s: float = 0.25
) -> Finished:
    """Simulate to the end."""
    deployment = expand(scenario)
    if not isinstance(traffic, Traffic):
        traffic = traffic_of(deployment, traffic)
    collector = Collector(deployment, sample_interval_s)
    simulation = Simulation(deployment, traffic, collector)
    simulation.run()
    collector.flush()
    requests = sorted(collector.done, key=lambda request: request.index)
    return Finished(requests, simulation, collector)


def phases_s(request: Request) -> float:
    """The sum of the phases a request's latency is taken apart into."""
    return (
        request.queue_s
        + request.adapter_wait_s
        + request.prefill_s
        + request.decode_s
        + request.preempted_s
    )
