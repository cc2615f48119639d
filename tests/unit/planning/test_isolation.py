"""What isolation costs and what sharing gives away, on a small fleet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.planning.isolation import Isolation, as_json, isolation, taxes
from simlora.planning.isolation_runs import price as price_of
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from tests.simulating import small_scenario

PROBES = 400


def chatting(**changes: Any) -> Scenario:
    return small_scenario(
        tenants=[
            {"name": "firm", "count": 10, "adapters": 2, "rate_rps_each": 0.1},
            {"name": "attacker", "rate_rps_each": 0},
        ],
        model="qwen2.5-7b",
        engine={"max_model_len": 4096},
        workload={
            "duration_s": 500,
            "arrivals": {
                "sessions": {
                    "common_prefix_tokens": 512,
                    "shared_prefix_tokens": 256,
                    "max_context_tokens": 4096,
                }
            },
            "prompt_tokens": {"lognormal": {"mean": 600, "sigma": 0.5, "min": 100}},
            "output_tokens": {"fixed": 20},
        },
        **changes,
    )


@pytest.fixture(scope="module")
def found() -> Isolation:
    return isolation(chatting(), probes=PROBES, noise_s=2.0, faster=3.0)


def test_only_a_cache_that_is_shared_with_the_attacker_gives_right_guesses_away(
    found: Isolation,
) -> None:
    leaks = {leak.mode: leak for leak in found.leaks}
    for mode in ("adapter", "tenant", "selective"):
        assert leaks[mode].hit_share == 0.0
        assert leaks[mode].auc.low <= 0.5 <= leaks[mode].auc.high
    assert leaks["shared"].hit_share > 0.9
    assert leaks["shared"].auc.low > 0.7
    assert leaks["shared"].bits > 20 * leaks["adapter"].bits
    assert leaks["shared"].ttft_right_s < leaks["shared"].ttft_wrong_s
    assert 0.5 < leaks["shared+noise"].auc.value < leaks["shared"].auc.value
    assert leaks["shared+noise"].hit_share > 0.9


def test_wrong_guesses_never_find_more_than_what_the_attacker_knew(found: Isolation) -> None:
    wrong = found.probes[~found.probes["right"]]
    assert (wrong["found_tokens"] <= wrong["known_tokens"]).all()


def test_all_modes_meet_the_same_probes(found: Isolation) -> None:
    columns = ["arrival_s", "right", "prompt_tokens", "known_tokens"]
    first, *others = [rows[columns].to_numpy() for _, rows in found.probes.groupby("mode")]
    assert len(first) > 0.9 * PROBES
    for other in others:
        assert np.array_equal(first, other)


def test_the_more_is_shared_the_more_is_found_and_the_less_it_costs(found: Isolation) -> None:
    order = ("shared", "selective", "tenant", "adapter")
    for prices in (found.prices, found.saturated):
        by_mode = {price.mode: price for price in prices}
        ratios = [by_mode[mode].prefix_hit_ratio or 0.0 for mode in order]
        assert ratios == sorted(ratios, reverse=True)
        assert len(set(ratios)) == len(order)
        busy_s = [by_mode[mode].busy_gpu_s for mode in order]
        assert busy_s == sorted(busy_s)
        assert len({price.completed for price in prices}) == 1


def test_a_tax_is_the_difference_to_shared_in_per_cent(found: Isolation) -> None:
    shared = next(price for price in found.prices if price.mode == "shared")
    for price, tax in zip(found.prices, taxes(found.prices), strict=True):
        assert tax["busy_gpu_s"] == pytest.approx(100 * (price.busy_gpu_s / shared.busy_gpu_s - 1))
        if price.mode == "shared":
            assert set(tax.values()) == {0.0}
    assert taxes(found.prices[:2]) == []
    plain = as_json(found)
    assert plain["prices"][0]["percent_over_shared"] == taxes(found.prices)[0]


def test_a_price_is_that_of_the_busy_seconds_of_a_plain_run() -> None:
    scenario = chatting(fleet=[{"gpu": "mini", "replicas": 2, "usd_per_gpu_hour": 3.6}])
    told = price_of(scenario, 10, 1.0)
    assert told is not None
    result = simulate(scenario)  # the attacker is silent
    assert told.busy_gpu_s == pytest.approx(result.summary["batch"]["busy_s"])
    assert told.prefix_hit_ratio == result.summary["prefix_cache"]["hit_ratio"]
    assert told.completed == result.summary["requests"]["completed"]
    tokens = result.requests["output_tokens"][result.requests["status"] == "completed"].sum()
    dollars = told.busy_gpu_s * 3.6 / 3600
    assert told.usd_per_million_output_tokens == pytest.approx(dollars / tokens * 1e6)


def test_a_warm_up_changes_neither_the_work_nor_its_price() -> None:
    whole, warm = (
        price_of(chatting(run={"warmup_s": warmup_s}), 10, 1.0) for warmup_s in (0.0, 400.0)
    )
    assert whole is not None and warm is not None
    assert warm.busy_gpu_s == whole.busy_gpu_s
    assert warm.usd_per_million_output_tokens == whole.usd_per_million_output_tokens
    assert warm.ttft_p50_s != whole.ttft_p50_s


@pytest.mark.parametrize("rate", [8.0, 0.5])
def test_the_warm_up_shrinks_with_the_time_between_arrivals(rate: float) -> None:
    fleet = [{"gpu": "mini", "replicas": 20}]  # keeps up with the faster arrivals
    scenario = chatting(run={"warmup_s": 400.0}, fleet=fleet)
    told = price_of(scenario, 10, rate)
    plain = price_of(scenario, 10, 1.0)
    assert told is not None and plain is not None
    assert told.completed == plain.completed
    # The same requests are measured in 1/rate of the time.
    assert told.output_tokens_per_s == pytest.approx(
        rate * (plain.output_tokens_per_s or 0), rel=0.1
    )


def test_a_run_that_measures_nothing_is_a_mistake() -> None:
    scenario = chatting(run={"warmup_s": 9000.0}).with_overrides(
        {"workload.duration_s": None, "workload.max_requests": 300}
    )
    said = "run.warmup_s: all 300 requests of the other tenants arrive in the warm-up of 9000 s, so"
    for rate in (1.0, 8.0):
        with pytest.raises(UserError, match=said):
            price_of(scenario, 10, rate)
    with pytest.raises(UserError, match=said):
        isolation(scenario, probes=150, modes=["shared"])


def test_faster_arrivals_keep_their_order_and_end_sooner(found: Isolation) -> None:
    for slow, fast in zip(found.prices, found.saturated, strict=True):
        assert slow.completed == fast.completed
        assert (fast.output_tokens_per_s or 0) > 1.5 * (slow.output_tokens_per_s or math.inf)


def test_the_figures_are_the_same_for_any_number_of_processes() -> None:
    asked: Any = {"probes": 150, "modes": ["adapter", "shared"], "faster": 0.0}
    scenario = chatting()
    one, two = (isolation(scenario, jobs=jobs, **asked) for jobs in (1, 2))
    assert as_json(one) == as_json(two)
    assert one.saturated == ()
    assert one.probes.equals(two.probes)


def test_requests_that_the_attacker_sends_anyway_are_left_out() -> None:
    scenario = chatting()
    noisy = scenario.with_overrides({"tenants.1.rate_rps_each": 0.2})
    (leak,) = isolation(noisy, probes=150, modes=["adapter"], faster=0.0).leaks
    assert leak.probes <= 150


@pytest.mark.parametrize(
    ("changes", "asked", "said"),
    [
        ({}, {"attacker": "firm-9999"}, r'attacker: no tenant "firm-9999" \(the scenario has firm'),
        (
            {},
            {"modes": ["share"]},
            'modes: "share" is none; allowed are adapter, tenant, selective',
        ),
        ({}, {"modes": ["+noise"]}, "modes: "),
        (
            {"engine.prefix_cache.enabled": False},
            {},
            "engine.prefix_cache.enabled: is false, so there is no cache to isolate",
        ),
        ({"workload.arrivals": "poisson"}, {}, "workload: no private prompt has prefix hashes"),
        (
            {"gateway.rate_limits": {"attacker-0000": {"rps": 0.0001, "burst": 1}}},
            {"modes": ["shared"]},
            "probes: of the attacker's requests only 1 are answered",
        ),
    ],
)
def test_what_cannot_be_attacked_is_said_in_a_sentence(
    changes: dict[str, Any], asked: dict[str, Any], said: str
) -> None:
    scenario = chatting().with_overrides(changes)
    with pytest.raises(UserError, match=said):
        isolation(scenario, probes=150, faster=0.0, **asked)
