"""A scenario reduced to one server waits as queueing theory says.

Service times come from timing models that make them plain: a millisecond for each prompt token, or
100 ms for each output token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import stats

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from simlora.workload import open_traffic
from tests.simulating import Finished, arrays_traffic, run, small_scenario

LOADS = (0.3, 0.6, 0.85)
REQUESTS = 40_000
BATCHES = 25
CONFIDENCE = 0.99
MEAN_SERVICE_S = 1.0


def one_server(timing: str, **workload: Any) -> Scenario:
    """One sequence at a time, no adapters."""
    return small_scenario(
        model="long",
        catalog={
            "gpus": {"mini": {"base": "h200"}},
            "models": {"long": {"base": "tiny-llama", "max_position_embeddings": 65_536}},
        },
        tenants=[{"name": "tenant", "adapters": 0}],
        engine={
            "max_num_seqs": 1,
            "max_num_batched_tokens": 65_536,
            "prefix_cache": {"enabled": False},
        },
        workload={"rate_rps": 1.0} | workload,
        timing={"profile": f"tests.timings:{timing}"},
    )


@dataclass(frozen=True)
class Queue:
    """Arrival and service times of one queue, as asked for."""

    arrival_s: Any
    service_s: Any

    def waits_by_lindley(self) -> Any:
        """W[n+1] = max(0, W[n] + S[n] - A[n])."""
        waits = np.zeros(len(self.arrival_s))
        gaps = np.diff(self.arrival_s)
        for n, gap in enumerate(gaps):
            waits[n + 1] = max(0.0, waits[n] + self.service_s[n] - gap)
        return waits


def prompts_as_service(load: float, draw: Callable[[Any, int], Any]) -> tuple[Queue, Finished]:
    """One-token answers; the prompt's length is the service time."""
    rng = np.random.default_rng(2024)
    arrival_s = np.cumsum(rng.exponential(MEAN_SERVICE_S / load, REQUESTS))
    prompt = np.maximum(1, np.round(draw(rng, REQUESTS) * 1000)).astype(int)
    nobody = np.zeros(REQUESTS)
    traffic = arrays_traffic(arrival_s, nobody, nobody - 1, prompt, nobody + 1)
    finished = run(one_server("PromptMillisecond"), traffic, sample_interval_s=4096.0)
    return Queue(arrival_s, prompt * 1e-3), finished


def answers_as_service(load: float) -> tuple[Queue, Finished]:
    """Geometric output lengths, a fixed time per token: the way an engine decodes."""
    rng = np.random.default_rng(7)
    arrival_s = np.cumsum(rng.exponential(2.0 / load, REQUESTS))
    output = rng.geometric(1 / 20, REQUESTS)
    nobody = np.zeros(REQUESTS)
    traffic = arrays_traffic(arrival_s, nobody, nobody - 1, nobody + 1, output)
    finished = run(one_server("ConstantStep"), traffic, sample_interval_s=4096.0)
    return Queue(arrival_s, output * 0.1), finished


def waits_of(finished: Finished) -> Any:
    assert all(request.finish_s >= 0 for request in finished.requests)
    return np.array([request.queue_s for request in finished.requests])


def assert_mean_within_interval(waits: Any, theory_s: float) -> None:
    """The mean of batch means lies so close to theory as chance allows."""
    means = waits[len(waits) // 10 :].reshape(BATCHES, -1).mean(axis=1)
    half_width = stats.t.ppf((1 + CONFIDENCE) / 2, BATCHES - 1) * stats.sem(means)
    assert half_width < 0.25 * theory_s  # else the test would accept anything
    assert abs(means.mean() - theory_s) <= half_width, (means.mean(), theory_s, half_width)


def pollaczek_khinchine_s(load: float, mean_s: float, second_moment: float) -> float:
    """Mean wait in M/G/1: lambda E[S^2] / 2 (1 - load)."""
    return load / mean_s * second_moment / (2 * (1 - load))


@pytest.mark.parametrize("load", LOADS)
def test_exponential_service_waits_as_in_an_m_m_1_queue(load: float) -> None:
    queue, finished = prompts_as_service(load, lambda rng, n: rng.exponential(MEAN_SERVICE_S, n))
    waits = waits_of(finished)
    assert waits == pytest.approx(queue.waits_by_lindley(), abs=1e-6)
    assert_mean_within_interval(waits, load / (1 - load) * MEAN_SERVICE_S)


@pytest.mark.parametrize("load", LOADS)
def test_constant_service_waits_as_in_an_m_d_1_queue(load: float) -> None:
    scenario = one_server(
        "PromptMillisecond",
        rate_rps=load / MEAN_SERVICE_S,
        max_requests=REQUESTS,
        prompt_tokens={"fixed": 1000},
        output_tokens={"fixed": 1},
    )
    finished = run(scenario, open_traffic(expand(scenario)), sample_interval_s=4096.0)
    assert_mean_within_interval(waits_of(finished), load / (2 * (1 - load)) * MEAN_SERVICE_S)


@pytest.mark.parametrize("load", LOADS)
def test_decoding_geometric_answers_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    queue, finished = answers_as_service(load)
    waits = waits_of(finished)
    assert waits == pytest.approx(queue.waits_by_lindley(), abs=1e-6)
    stop = 1 / 20
    second_moment = 0.1**2 * (2 - stop) / stop**2  # E[N^2] of a geometric number of steps
    assert_mean_within_interval(waits, pollaczek_khinchine_s(load, 2.0, second_moment))


def test_a_batch_that_takes_everybody_makes_nobody_wait() -> None:
    """M/D/infinity in steps: nobody queues longer than the step in flight."""
    scenario = one_server(
        "ConstantStep", rate_rps=3.0, max_requests=5000, output_tokens={"fixed": 30}
    ).with_overrides({"engine.max_num_seqs": 512})
    finished = run(scenario, open_traffic(expand(scenario)))
    assert waits_of(finished).max() <= 0.1 + 1e-9


# --- laws that hold for any queue ------------------------------------------------------------


@pytest.mark.parametrize("load_rps", [4.0, 25.0])
def test_littles_law(load_rps: float) -> None:
    """Requests in the system, as gauges sample them, are rate times mean latency."""
    scenario = small_scenario(
        workload={
            "rate_rps": load_rps,
            "max_requests": 8000,
            "arrivals": {"gamma": {"cv": 2.0}},
        },
        engine={"max_num_seqs": 8, "max_model_len": 2048},
        timing={"profile": "tests.timings:ShortStep"},
    )
    finished = run(scenario, open_traffic(expand(scenario)), sample_interval_s=1 / 64)
    inside = [running + waiting for _, _, running, waiting, *_ in finished.collector.gauges]
    latencies_s = [request.finish_s - request.arrival_s for request in finished.requests]
    assert min(latencies_s) > 0
    span_s = finished.simulation.env.now
    assert np.mean(inside) == pytest.approx(sum(latencies_s) / span_s, rel=0.01)


def test_mean_batch_size_is_time_in_the_batch_over_busy_time() -> None:
    scenario = small_scenario(workload={"rate_rps": 300.0, "max_requests": 3000})
    result = simulate(scenario)
    batch = result.summary["batch"]
    assert batch["preemptions"] == 0
    in_batch_s = (result.requests["prefill_s"] + result.requests["decode_s"]).sum()
    assert batch["mean_running"] * batch["busy_s"] == pytest.approx(in_batch_s, rel=1e-9)
