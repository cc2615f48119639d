"""What the batching options are for shows in comparable runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlora.scenario.schema import Scenario
from simlora.serving.request import COMPLETED
from tests.simulating import Finished, arrays_traffic, run, small_scenario


class Load:
    """Requests of one size at a steady rate, `share` of them for adapter 0."""

    def __init__(self, share: float, count: int = 1500, rate_rps: float = 60.0) -> None:
        rng = np.random.default_rng(1)
        adapter = np.where(rng.random(count) < share, 0, rng.integers(1, 8, count))
        arrival_s = np.cumsum(rng.exponential(1 / rate_rps, count))
        lengths = np.full(count, 40)
        self.columns = (arrival_s, adapter, adapter, np.full(count, 20), lengths)


def simulated(rules: dict[str, Any], load: Load, **changes: Any) -> Finished:
    scenario: Scenario = small_scenario(
        timing={"profile": "tests.unit.serving.test_batching:LoraStep"},
        tenants=[{"name": "tenant", "count": 8}],
        engine={"max_model_len": 1024, "max_num_seqs": 64, "scheduler": rules},
        **changes,
    )
    return run(scenario, arrays_traffic(*load.columns))


def makespan_s(finished: Finished) -> float:
    return max(request.finish_s for request in finished.requests)


def test_merged_mode_pays_where_one_adapter_dominates() -> None:
    """Steps are cheaper without LoRA's part, if few have to wait for it."""
    rules = {"merged": {"window_s": 5.0, "max_wait_s": 60.0}}
    for share, most in ((0.97, 0.9), (1.0, 0.8)):
        load = Load(share)
        assert makespan_s(simulated(rules, load)) < most * makespan_s(simulated({}, load))


def test_merged_mode_gains_little_where_traffic_mixes() -> None:
    """At a share just above the threshold batches run empty, again and again."""
    load = Load(0.55)
    rules = {"merged": {"share": 0.51, "window_s": 1.0, "max_wait_s": 1.0}}
    assert makespan_s(simulated(rules, load)) > 0.95 * makespan_s(simulated({}, load))


def test_head_of_line_blocking_costs_the_median_and_saves_the_longest_wait() -> None:
    """One slot for eight adapters, one of which is asked for nearly all the time."""
    memory = {"hot": {"max_adapters": 1}, "initial_tier": "nvme", "nvme": {"latency_s": 0.5}}
    load = Load(0.9, count=300, rate_rps=0.5)
    ttft_s = {}
    for order in ("resident_first", "strict_fcfs"):
        requests = simulated({"order": order}, load, adapters=memory).requests
        assert all(request.status == COMPLETED for request in requests)
        ttft_s[order] = [request.first_token_s - request.arrival_s for request in requests]
    passed_over, blocked = ttft_s["resident_first"], ttft_s["strict_fcfs"]
    assert np.median(blocked) > 3 * np.median(passed_over)
    assert max(blocked) < max(passed_over) / 3


def test_grouping_makes_batches_of_fewer_adapters() -> None:
    load = Load(0.0, count=300, rate_rps=2.0)
    rules = {"grouping": {"adapter_wait_s": 60.0, "min_requests": 16}}
    busy_s = [
        finished.simulation.replicas[0].busy_s
        for finished in (simulated(rules, load), simulated({}, load))
    ]
    assert busy_s[0] < 0.8 * busy_s[1]
