"""What `plan` chooses from: configurations, growths, prices, and mistakes in them."""

from __future__ import annotations

from typing import Any

import pytest

from simlora import simulate
from simlora.cost.usage import months_of, rents
from simlora.errors import UserError
from simlora.planning.plan import plan
from simlora.planning.search.cost import fleet_usd_per_month
from simlora.planning.search.growth import Growth, grown, parse_growth, with_load
from simlora.planning.search.promises import promises_of, requests_by_tier
from simlora.planning.search.space import configurations
from simlora.scenario.catalog import load_gpu
from simlora.scenario.deployment import expand
from tests.unit.planning.planned import planned


def test_all_combinations_are_configurations_and_each_is_applied() -> None:
    scenario = planned(
        plan={
            "gpus": ["l40s", "h200"],
            "tensor_parallel": [1, 2],
            "weights": ["fp8"],
            "hot_adapters": [8],
            "warm_gb": [10.0],
            "eviction": ["lfu"],
            "routing": ["round_robin"],
            "admission": [{"free": 3}],
        }
    )
    space = configurations(scenario)
    assert len(space) == 4
    fleet = space[-1].applied(scenario, 3)
    pool = fleet.fleet[0]
    assert (pool.gpu, pool.tensor_parallel, pool.replicas) == ("h200", 2, 3)
    assert fleet.model.weights == "fp8"
    assert fleet.engine.memory.max_loras == 8
    assert fleet.adapters.warm.capacity_gb == 10.0
    assert fleet.adapters.hot.eviction == "lfu"
    assert fleet.gateway.routing == "round_robin"
    assert fleet.gateway.admission.max_queue == {"free": 3}
    assert space[-1].name == ("2 x h200 fp8, 8 hot, 10 GB warm, lfu, round_robin, queue free 3")


def test_in_unified_memory_the_hot_size_bounds_adapters_instead_of_slots() -> None:
    scenario = planned(engine__memory={"mode": "unified"})
    fleet = configurations(scenario)[0].applied(scenario, 1)
    assert fleet.adapters.hot.max_adapters == 8
    assert fleet.engine.memory.max_loras is None


def test_without_a_plan_section_gpus_of_the_catalog_are_tried_with_the_scenarios_own_values() -> (
    None
):
    scenario = planned(plan={})
    space = configurations(scenario)
    gpus = {one.gpu for one in space}
    assert {"l40s", "a100-80gb", "h100-80gb", "h200", "b200"} <= gpus
    assert not {"cpu", "h100-64gb"} & gpus
    assert {(one.weights, one.hot_adapters, one.eviction) for one in space} == {
        ("bf16", None, None)
    }


def test_a_fleets_price_is_its_gpus_for_720_hours_at_the_pools_own_price() -> None:
    scenario = planned(fleet=[{"gpu": "l40s", "usd_per_gpu_hour": 1.25}])
    l40s, h100 = (
        next(one for one in configurations(scenario) if one.gpu == gpu)
        for gpu in ("l40s", "h100-80gb")
    )
    assert fleet_usd_per_month(l40s.applied(scenario, 4)) == pytest.approx(4 * 1.25 * 720)
    hourly = load_gpu("h100-80gb").usd_per_hour
    assert fleet_usd_per_month(h100.applied(scenario, 2)) == pytest.approx(2 * hourly * 720)


@pytest.mark.parametrize(
    "cost",
    [
        {},
        {"host_usd_per_gpu_hour": 2.0},
        {"gpu": {"reserved_share": 0.5, "reserved_discount": 0.4}},
        {
            "host_usd_per_gpu_hour": 0.5,
            "gpu": {"spot_share": 0.7, "spot_discount": 0.6, "spot_interruptions_per_day": 4},
        },
    ],
    ids=["on-demand", "hosted", "reserved", "spot-and-hosted"],
)
@pytest.mark.parametrize("own_usd", [None, 1.25])
def test_a_fleets_price_is_what_the_bill_of_a_run_says(
    cost: dict[str, Any], own_usd: float | None
) -> None:
    pool = {"gpu": "h100-80gb", "replicas": 2, "usd_per_gpu_hour": own_usd}
    scenario = planned(fleet=[pool], cost=cost, workload__rate_rps=2)
    deployment, result = expand(scenario), simulate(scenario)
    (rented,) = rents(deployment, result.summary, scenario.cost)
    bill_usd = rented.usd * months_of(result.summary)
    assert fleet_usd_per_month(scenario) == pytest.approx(bill_usd)


def test_hosts_and_discounts_decide_which_fleet_is_cheapest() -> None:
    def cheapest(**changes: Any) -> str:
        scenario = planned(
            plan__gpus=["a100-40gb", "h100-80gb"],
            plan__weights=["fp8"],
            plan__hot_adapters=[32],
            fleet=[{"gpu": "h100-80gb"}],
            **changes,
        )
        found = plan(scenario, headroom=False)
        assert found.best is not None
        return found.best.candidate.configuration.gpu

    assert cheapest() == "a100-40gb"
    assert cheapest(cost={"host_usd_per_gpu_hour": 5.0}) == "h100-80gb"


@pytest.mark.parametrize(
    ("text", "growth"),
    [
        ("tenants=2", Growth(tenants=2.0)),
        ("load=1.5", Growth(load=1.5)),
        ("load=2, tenants=3", Growth(tenants=3.0, load=2.0)),
    ],
)
def test_a_growth_is_read(text: str, growth: Growth) -> None:
    assert parse_growth(text) == growth


@pytest.mark.parametrize(
    "text", ["users=2", "load", "load=x", "load=0", "load=1,load=2", "load=1e9"]
)
def test_a_growth_that_means_nothing_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="--what-if"):
        parse_growth(text)


@pytest.mark.parametrize("growth", [Growth(load=3), Growth(tenants=3)])
@pytest.mark.parametrize("each", [False, True])
def test_three_times_the_load_or_the_tenants_ask_three_times_as_often(
    growth: Growth, each: bool
) -> None:
    changes: dict[str, Any] = {}
    if each:
        changes = {
            "workload__rate_rps": None,
            "workload__popularity": {"zipf": 1.0},
            "tenants__0__rate_rps_each": 0.4,
            "tenants__1__rate_rps_each": 0.8,
        }
    scenario = planned(**changes)
    before = sum(requests_by_tier(scenario, 0))
    more = grown(scenario, growth)
    assert sum(requests_by_tier(more, 0)) == pytest.approx(3 * before, rel=0.15)
    tenants = len(expand(scenario).tenants)
    assert len(expand(more).tenants) == tenants * growth.tenants


def test_more_load_is_more_requests_in_bursts_too() -> None:
    burst = {"tenant": "gold-0000", "start_s": 1, "duration_s": 2, "requests": 200}
    scenario = planned(workload__arrivals={"bursts": [burst]}, workload__rate_rps=1)
    assert sum(requests_by_tier(with_load(scenario, 2), 0)) >= 400


def test_requests_are_counted_by_tier_after_the_warm_up() -> None:
    scenario = planned(run__warmup_s=8)
    late, all_of_it = requests_by_tier(scenario, 0), requests_by_tier(planned(), 0)
    assert sum(late) == pytest.approx(sum(all_of_it) / 2, rel=0.25)
    assert len(promises_of(expand(scenario))) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plan__gpus": ["l40"]}, r"plan\.gpus\.0: no GPU \"l40\": did you mean l40s"),
        (
            {"plan__eviction": ["lrux"]},
            r"^plan\.eviction\.0: unknown name 'lrux'; did you mean 'lru'",
        ),
        (
            {"plan__routing": ["score", "round"]},
            r"^plan\.routing\.1: unknown name 'round'",
        ),
        ({"plan__admission": [{"silver": 3}]}, r"^plan\.admission\.0.*tier \"silver\""),
        ({"fleet": [{"gpu": "l40s"}, {"gpu": "h200"}]}, r"fleets of one pool, and this one has 2"),
        (
            {"tiers": {}, "tenants__0__tier": "a", "tenants__1__tier": "a"},
            r"none promises anything",
        ),
        ({"workload__duration_s": 0.2}, r"too few to show its p99 TTFT with confidence 0\.95"),
        (
            {
                "tenants__0__rate_rps_each": 1e-9,
                "tenants__1__rate_rps_each": 0.6,
                "workload__rate_rps": None,
                "workload__popularity": {"zipf": 1.0},
            },
            r"^workload: 0 requests of tier gold in 20 runs are too few",
        ),
        (
            {"workload__output_tokens": {"fixed": 1}},
            r"0 requests of tier gold with more than one output token in 20 runs",
        ),
        ({"fleet__0__autoscale": {"min": 1}, "fleet__0__replicas": 2}, r"leave autoscale out"),
    ],
)
def test_what_cannot_be_planned_is_told_in_a_sentence(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        plan(planned(**changes))


def test_configurations_that_do_not_fit_are_ruled_out_with_the_reason() -> None:
    scenario = planned(
        plan__weights=["bf16"],
        plan__gpus=["a10g"],
        plan__tensor_parallel=[1, 3],
        plan__hot_adapters=[64],
    )
    found = plan(scenario)
    assert found.best is None and found.counted.runs == 0
    small, odd = found.candidates.ruled_out
    assert "64 slots of rank 16 take" in small.why or "KV cache" in small.why
    assert "3 does not divide the model" in odd.why


@pytest.mark.parametrize("seed", range(6))
def test_a_tier_that_is_hardly_asked_is_refused_whatever_the_seed(seed: int) -> None:
    # 0.4 requests a run: with some seeds the first run has one, with most it has none.
    scenario = planned(
        seed=seed,
        tenants__0__rate_rps_each=0.00125,
        tenants__1__rate_rps_each=0.6,
        workload__rate_rps=None,
        workload__popularity={"zipf": 1.0},
    )
    with pytest.raises(UserError, match="requests of tier gold in 20 runs are too few"):
        plan(scenario)
