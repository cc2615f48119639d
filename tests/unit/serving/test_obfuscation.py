"""Timing noise: uniform, the same for a seed and request, and counted as queueing."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from simlora.scenario.deployment import expand
from simlora.serving.gateway import Gateway
from simlora.serving.obfuscation import TimingNoise
from simlora.serving.request import COMPLETED, Request
from tests.simulating import Ask, phases_s, run, small_scenario


def noisy(noise_s: float, **changes: Any) -> Any:
    engine = {"max_model_len": 1024, "prefix_cache": {"timing_noise_s": noise_s}}
    return small_scenario(engine=engine, **changes)


def test_the_noise_is_uniform_and_independent_of_the_order_of_requests() -> None:
    waits = [TimingNoise(3, 0.2).wait_s(index) for index in range(5_000)]
    assert stats.kstest(waits, "uniform", args=(0.0, 0.2)).pvalue > 0.01
    assert abs(stats.spearmanr(waits[1:], waits[:-1]).statistic) < 0.04
    assert 0.0 <= min(waits) < max(waits) < 0.2


def test_it_follows_from_the_seed_and_the_index_alone() -> None:
    assert TimingNoise(3, 0.2).wait_s(17) == TimingNoise(3, 0.2).wait_s(17)
    assert TimingNoise(3, 0.2).wait_s(17) != TimingNoise(4, 0.2).wait_s(17)
    assert TimingNoise(3, 0.4).wait_s(17) == pytest.approx(2 * TimingNoise(3, 0.2).wait_s(17))


def test_without_noise_or_limits_requests_are_let_in_at_once() -> None:
    gateway = Gateway(expand(noisy(0.0)), lambda _: 1024)
    assert [gateway.admit(Request(i, 0.0, 0, 0, -1, 10, 1), 0.0) for i in range(50)] == [0.0] * 50


def test_the_gateway_adds_it_to_the_wait_of_a_limit() -> None:
    limit = {"standard": {"rps": 1.0, "burst": 1, "over_limit": "delay"}}
    scenario = noisy(0.2, gateway={"rate_limits": limit})
    gateway, noise = Gateway(expand(scenario), lambda _: 1024), TimingNoise(scenario.seed, 0.2)
    waits = [gateway.admit(Request(i, 0.0, 0, 0, -1, 10, 1), 0.0) for i in range(4)]
    assert waits == pytest.approx([i + noise.wait_s(i) for i in range(4)])


def test_what_is_refused_is_not_held_back() -> None:
    limit = {"standard": {"rps": 1.0, "burst": 1}}
    gateway = Gateway(expand(noisy(0.2, gateway={"rate_limits": limit})), lambda _: 1024)
    assert gateway.admit(Request(0, 0.0, 0, 0, -1, 10, 1), 0.0) > 0
    refused = Request(1, 0.0, 0, 0, -1, 10, 1)
    assert gateway.admit(refused, 0.0) == -1.0
    assert refused.retry_after_s == 1.0
    assert gateway.admit(Request(2, 9.0, 0, 0, -1, 2000, 1), 9.0) == -1.0


def test_the_time_a_request_is_held_back_is_queue_time() -> None:
    """Requests far apart, on an idle replica: the noise is all they wait for."""
    asks = [Ask(10.0 * at, -1, prompt_tokens=20, output_tokens=3) for at in range(20)]
    quiet, loud = (run(noisy(noise_s), asks).requests for noise_s in (0.0, 0.5))
    noise = TimingNoise(0, 0.5)
    for before, after in zip(quiet, loud, strict=True):
        assert after.status == COMPLETED
        assert after.queue_s == pytest.approx(before.queue_s + noise.wait_s(after.index))
        assert phases_s(after) == pytest.approx(after.finish_s - after.arrival_s, abs=1e-9)
