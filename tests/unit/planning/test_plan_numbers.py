"""The arithmetic of `plan`: the smallest number that passes, confidence, bounds on fleets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora import simulate
from simlora.planning.search.demand import read_requests, windows
from simlora.planning.search.fewest import fewest, fewest_below
from simlora.planning.search.floor import latency_floors, most_undone, prices_of, replica_floor
from simlora.planning.search.promises import Promise, least_requests, promises_of
from simlora.planning.search.trial import Kept, Outcome
from simlora.planning.search.verdict import evidence, upper_bound
from simlora.scenario.deployment import expand
from simlora.serving.memory import plan_memory
from simlora.timing import make_timing
from tests.unit.planning.planned import planned


@given(low=st.integers(1, 20), span=st.integers(0, 60), first=st.integers(0, 90))
def test_the_smallest_that_passes_is_found_whichever_way(low: int, span: int, first: int) -> None:
    high = low + span
    numbers = range(max(first, low), high + 1)
    smallest = numbers[0] if numbers else None
    assert fewest(lambda number: number >= first, low, high) == smallest
    assert fewest_below(lambda number: number >= first, low, high) == smallest


@given(first=st.integers(1, 100))
def test_few_numbers_are_asked_for_and_none_twice(first: int) -> None:
    asked: list[int] = []

    def passes(number: int) -> bool:
        asked.append(number)
        return number >= first

    fewest(passes, 1, 100)
    assert len(asked) == len(set(asked)) <= 14
    assert max(asked) <= max(2 * first, 2)


def kept(broken: int, judged: int) -> Kept:
    return Kept(broken, judged, 0.5, True)


def test_requests_that_all_keep_a_promise_show_what_the_rule_of_three_says() -> None:
    # Clopper and Pearson's bound for no failure among 299: 1 - 0.05^(1/299) = 0.00997
    assert upper_bound([kept(0, 100), kept(0, 199)], 0.95) == pytest.approx(0.009969, abs=1e-6)
    # and, from their published tables, for 1 of 10 at 95 % one-sided: 0.3942
    assert upper_bound([kept(1, 10)], 0.95) == pytest.approx(0.3942, abs=1e-4)


def test_nobodys_requests_show_nothing() -> None:
    assert upper_bound([kept(0, 0), kept(0, 0)], 0.95) == 1.0
    promise = Promise(0, "gold", "availability", 1.0, 0.0)
    outcome = Outcome(1, 0, kept=(Kept(0, 0, None, None),))
    assert not any(one.shown for one in evidence([promise], [outcome], 0.95))


def test_runs_that_differ_show_less_than_their_requests_would() -> None:
    alike = upper_bound([kept(5, 1000), kept(5, 1000), kept(5, 1000)], 0.95)
    differing = upper_bound([kept(0, 1000), kept(0, 1000), kept(15, 1000)], 0.95)
    assert alike < 0.01 < differing
    # Student's t with two degrees of freedom: 0.005 + 2.92 * 0.00866 / sqrt(3)
    assert differing == pytest.approx(0.0196, abs=1e-4)


@given(broken=st.integers(0, 20), judged=st.integers(21, 2000))
def test_more_confidence_asks_for_more(broken: int, judged: int) -> None:
    runs = [kept(broken, judged), kept(0, judged)]
    bounds = [upper_bound(runs, confidence) for confidence in (0.6, 0.8, 0.95, 0.99)]
    assert bounds == sorted(bounds)
    assert bounds[0] > broken / judged / 2


@pytest.mark.parametrize(("allowed", "confidence"), [(0.01, 0.95), (0.0005, 0.95), (0.01, 0.99)])
def test_so_many_requests_are_needed_and_no_fewer(allowed: float, confidence: float) -> None:
    least = least_requests(Promise(0, "gold", "availability", 1 - allowed, allowed), confidence)
    assert upper_bound([kept(0, least)], confidence) <= allowed
    assert upper_bound([kept(0, least - 1)], confidence) > allowed


def test_a_lone_request_takes_what_the_latency_floor_says() -> None:
    scenario = planned(
        tenants=[{"name": "gold", "tier": "gold", "adapters": 0}],
        workload={
            "rate_rps": 0.001,
            "max_requests": 1,
            "prompt_tokens": {"fixed": 3000},
            "output_tokens": {"fixed": 200},
        },
        tiers={"gold": {"sla": {"ttft_p99_s": 9.0, "tpot_p99_s": 9.0, "e2e_p99_s": 9.0}}},
    )
    deployment = expand(scenario)
    prices = prices_of(make_timing(deployment, 0))
    assert prices is not None
    requests = read_requests(deployment, base_model_only=False)
    floors = latency_floors(prices, scenario, promises_of(deployment), requests)
    latency = simulate(scenario).summary["latency"]
    measured = [latency[metric]["p99"] for metric in ("ttft_s", "tpot_s", "e2e_s")]
    assert [floor.least_s for floor in floors] == pytest.approx(measured, rel=1e-9)
    for floor in floors:
        assert sum(seconds for _, seconds in floor.parts) == pytest.approx(floor.least_s)


@pytest.mark.parametrize("seed", range(3))
def test_under_load_nothing_is_faster_than_the_latency_floor(seed: int) -> None:
    scenario = planned(seed=seed, workload__rate_rps=10)
    deployment = expand(scenario)
    prices = prices_of(make_timing(deployment, 0))
    assert prices is not None
    requests = read_requests(deployment, base_model_only=False)
    tiers = simulate(scenario).summary["tiers"]
    for floor in latency_floors(prices, scenario, promises_of(deployment), requests):
        measured = tiers[floor.promise.tier_name]["sla"][floor.promise.bound]["measured"]
        assert floor.least_s <= measured


def test_fewer_replicas_than_the_floor_cannot_serve_the_load() -> None:
    scenario = planned(workload__rate_rps=60)
    deployment = expand(scenario)
    prices, promises = prices_of(make_timing(deployment, 0)), promises_of(deployment)
    assert prices is not None
    requests = read_requests(deployment, base_model_only=False)
    spans = windows(scenario, promises, requests)
    memory = plan_memory(deployment, 0)
    undone = most_undone(scenario, memory, requests)
    floor = replica_floor(prices, scenario, memory, spans, 32, undone)
    assert floor.replicas > 1
    assert floor.work_s > (floor.replicas - 1) * floor.span_s
    too_few = scenario.with_overrides({"fleet.0.replicas": floor.replicas - 1})
    tiers = simulate(too_few).summary["tiers"].values()
    assert not all(bound["met"] for tier in tiers for bound in tier["sla"].values())
    assert replica_floor(prices, scenario, memory, spans, 1, undone).replicas == 2  # and no further


def test_tiers_that_promise_no_time_need_no_replica_for_it() -> None:
    scenario = planned(
        workload__rate_rps=60, tiers={"gold": {"sla": {"availability": 0.9}}, "free": {}}
    )
    deployment = expand(scenario)
    requests = read_requests(deployment, base_model_only=False)
    assert windows(scenario, promises_of(deployment), requests) == []


def test_where_no_timed_request_arrives_there_is_nothing_to_bound() -> None:
    scenario = planned(run__warmup_s=15.9, workload__duration_s=16, workload__rate_rps=0.1)
    deployment = expand(scenario)
    requests = read_requests(deployment, base_model_only=False)
    assert not any(requests.arrival_s >= 15.9)
    assert windows(scenario, promises_of(deployment), requests) == []
