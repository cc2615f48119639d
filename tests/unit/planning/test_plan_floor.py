"""Bounds of `plan` in cases that tempt them to be too bold, each where something is scarce."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.planning.search.demand import read_requests, windows
from simlora.planning.search.floor import (
    latency_floors,
    most_undone,
    prices_of,
    replica_floor,
)
from simlora.planning.search.promises import promises_of
from simlora.planning.search.trial import run_trial
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.timing import make_timing
from tests.unit.planning.planned import planned


def crowded(
    rate_rps: float,
    duration_s: float,
    tokens: tuple[int, int],
    sla: dict[str, float],
    tenants: int = 40,
    **changes: Any,
) -> Scenario:
    """One H100, one tier, and requests that are all of the same `tokens` (prompt, output)."""
    scenario = planned(
        fleet=[{"gpu": "h100-80gb"}],
        tenants=[
            {"name": "gold", "count": tenants, "tier": "gold", "adapter": {"rank": 8}},
        ],
        tiers={"gold": {"sla": sla}},
        workload={
            "rate_rps": rate_rps,
            "duration_s": duration_s,
            "prompt_tokens": {"fixed": tokens[0]},
            "output_tokens": {"fixed": tokens[1]},
        },
        engine__memory={"mode": "slots", "max_loras": tenants, "max_lora_rank": 8},
    )
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return scenario.with_overrides(overrides)


# One replica keeps every promise of these, and `at_least` requests are preempted or turned away.
ENOUGH = {
    "answers-longer-than-the-run": (
        crowded(10, 4, (20, 3000), {"ttft_p99_s": 1.0}, engine__max_num_seqs=64),
        0,
        0,
    ),
    "fair-queue-before-the-preempted": (
        crowded(
            1,
            60,
            (20, 3000),
            {"ttft_p99_s": 60.0},
            tenants=300,
            engine__max_num_seqs=8,
            engine__memory__kv_cache_tokens=4096,
            gateway__fairness={"policy": "wfq", "by": "tenant"},
            workload__popularity={"zipf": 0.0},
        ),
        300,
        0,
    ),
    "tight-kv": (
        crowded(
            3,
            60,
            (200, 800),
            {"e2e_p99_s": 40.0},
            engine__max_num_seqs=64,
            engine__memory__kv_cache_tokens=8192,
        ),
        300,
        0,
    ),
    "a-third-turned-away": (
        crowded(
            30,
            8,
            (2000, 1),
            {"ttft_p99_s": 1.0},
            gateway__admission__max_queue={"gold": 2},
        ),
        0,
        60,
    ),
    "slow-tokens": (
        crowded(
            25,
            10,
            (60, 400),
            {"ttft_p99_s": 2.0, "tpot_p99_s": 0.02},
            engine__memory__kv_cache_tokens=65_536,
        ),
        0,
        0,
    ),
}


def floor_of(scenario: Scenario) -> int:
    """The fewest replicas that the bounds leave."""
    deployment = expand(scenario)
    prices, memory = prices_of(make_timing(deployment, 0)), plan_memory(deployment, 0)
    assert prices is not None
    promises, requests = promises_of(deployment), read_requests(deployment, False)
    assert all(one.ratio <= 1 for one in latency_floors(prices, scenario, promises, requests))
    spans = windows(scenario, promises, requests)
    undone = most_undone(scenario, memory, requests)
    return replica_floor(prices, scenario, memory, spans, 32, undone).replicas


@pytest.mark.parametrize("case", ENOUGH)
def test_a_fleet_that_keeps_its_promises_is_not_ruled_out(case: str) -> None:
    scenario, preempted, turned_away = ENOUGH[case]
    promises = promises_of(expand(scenario))
    outcome = run_trial(scenario, scenario.seed, promises, None)
    assert outcome.ok
    assert outcome.preemptions >= preempted
    assert outcome.requests - outcome.kept[0].judged >= turned_away
    assert floor_of(scenario) == 1


def test_what_has_to_be_done_by_the_end_is_counted_however_it_is_scheduled() -> None:
    scenario = ENOUGH["tight-kv"][0]
    assert floor_of(scenario.with_overrides({"tiers.gold.sla": {"e2e_p99_s": 14.0}})) > 1
    slow = ENOUGH["slow-tokens"][0].with_overrides(
        {"workload.rate_rps": 150, "workload.duration_s": 40}
    )
    # With times between tokens promised, decoding cannot be put off.
    assert floor_of(slow) > 1 == floor_of(slow.with_overrides({"tiers.gold.sla.tpot_p99_s": None}))


def test_where_nothing_can_be_preempted_only_what_runs_is_undone() -> None:
    scenario = ENOUGH["answers-longer-than-the-run"][0]
    deployment = expand(scenario)
    memory, requests = plan_memory(deployment, 0), read_requests(deployment, False)
    assert most_undone(scenario, memory, requests) == 64
    tight = scenario.with_overrides({"engine.memory.kv_cache_tokens": 8192})
    memory = plan_memory(expand(tight), 0)
    assert most_undone(tight, memory, requests) is None
