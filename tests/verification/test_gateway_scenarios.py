"""Ready-made scenarios of gateways and of what goes wrong show what they say they show."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

import simlora
from simlora.results.result import Result

SCENARIOS = Path(__file__).parents[2] / "scenarios"
EVERYONE_ALIKE = {"gateway.fairness.policy": "fcfs", "gateway.admission.max_queue": {}}


def result_of(name: str, **changes: Any) -> Result:
    return simlora.simulate(simlora.load_scenario(SCENARIOS / f"{name}.yaml", changes))


@cache
def as_it_is(name: str) -> Result:
    return result_of(name)


def rows_of(result: Result, start_s: float = 0.0, end_s: float = float("inf"), **equal: str) -> Any:
    """The requests that arrived between two instants, with these values in their columns."""
    rows = result.requests
    rows = rows[(rows["arrival_s"] >= start_s) & (rows["arrival_s"] < end_s)]
    for column, value in equal.items():
        rows = rows[rows[column].astype(str) == value]
    return rows


def groups_of(rows: Any) -> Any:
    """The tenant group of each request."""
    return rows["tenant"].astype(str).str.rsplit("-", n=1).str[0]


def p99_s(rows: Any, column: str = "ttft_s") -> float:
    return float(rows[rows["status"] == "completed"][column].quantile(0.99))


def all_completed(result: Result) -> bool:
    requests = result.summary["requests"]
    return bool(requests["completed"] == requests["offered"])


# --- one tenant's burst --------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_the_others_do_not_feel_a_neighbours_burst_and_would_without_limits(seed: int) -> None:
    unlimited = {"gateway.rate_limits": {}, "gateway.fairness.policy": "fcfs"}
    guarded, exposed, quiet = (
        result_of("noisy-neighbour", seed=seed, **changes)
        for changes in ({}, unlimited, {"workload.arrivals": "poisson"})
    )
    alone, kept, harmed = (
        p99_s(rows[rows["tenant"].astype(str) != "top-0004"])
        for rows in (quiet.requests, guarded.requests, exposed.requests)
    )
    assert harmed >= 3 * alone
    assert kept <= 1.2 * alone
    noisy = rows_of(guarded, 240, 270, tenant="top-0004")
    assert len(noisy) > 400
    assert set(noisy["status"]) == {"completed"}  # none is lost, they wait
    assert noisy["queue_s"].median() > 60
    assert all_completed(exposed) and all_completed(quiet)


# --- tiers ---------------------------------------------------------------------------------

SURGE = (1800, 9000)


def test_promises_hold_under_the_hospitals_surge_and_the_trials_pay() -> None:
    result = as_it_is("hospital")
    surge = {tier: rows_of(result, *SURGE, tier=tier) for tier in ("platinum", "gold", "trial")}
    assert p99_s(surge["platinum"]) < 0.8
    assert p99_s(surge["gold"]) < 2.0
    assert p99_s(surge["platinum"]) < p99_s(surge["gold"]) < p99_s(surge["trial"])
    for tier, promise in (("platinum", 0.9995), ("gold", 0.999)):
        assert (surge[tier]["status"] == "completed").mean() >= promise
    turned_away = surge["trial"][surge["trial"]["status"] == "rejected"]
    assert set(turned_away["reason"].astype(str)) == {"overloaded"}
    assert len(turned_away) > 100
    # "gold a little slower than else"
    assert p99_s(surge["gold"]) > 1.2 * p99_s(rows_of(result, 0, 1800, tier="gold"))


def test_with_everyone_alike_the_hospitals_promise_breaks() -> None:
    result = result_of("hospital", **EVERYONE_ALIKE)
    slow = {tier: p99_s(rows_of(result, *SURGE, tier=tier)) for tier in ("platinum", "gold")}
    assert slow["platinum"] > 2 * 0.8
    assert slow["gold"] > 2.0
    trial = rows_of(result, *SURGE, tier="trial")
    assert set(trial["status"]) == {"completed"}
    assert slow["platinum"] == pytest.approx(p99_s(trial), rel=0.3)


def test_of_three_tiers_the_paying_ones_keep_their_promises() -> None:
    tiers = as_it_is("three-tiers").summary["tiers"]
    assert tiers["platinum"]["ttft_s"]["p99"] < 1.0
    assert tiers["gold"]["ttft_s"]["p99"] < 3.0
    for tier in ("platinum", "gold"):
        requests = tiers[tier]["requests"]
        assert requests["completed"] == requests["offered"]
    free = rows_of(as_it_is("three-tiers"), tier="free")
    reasons = free["reason"].astype(str).value_counts()
    assert reasons["overloaded"] > 100  # turned away when the queues are long
    assert reasons["timeout"] > 100  # given up after 30 s
    given_up = free[free["reason"].astype(str) == "timeout"]
    assert (given_up["finish_s"] - given_up["arrival_s"]).min() >= 30
    assert free[free["status"] == "completed"]["ttft_s"].median() > tiers["gold"]["ttft_s"]["p50"]


def test_with_all_three_tiers_alike_the_paying_ones_wait_with_the_free() -> None:
    tiers = result_of("three-tiers", **EVERYONE_ALIKE).summary["tiers"]
    assert tiers["platinum"]["ttft_s"]["p99"] > 3 * 1.0
    assert tiers["gold"]["ttft_s"]["p99"] > 3 * 3.0


# --- what goes wrong -----------------------------------------------------------------------


def test_the_loss_of_a_replica_loses_no_request_and_passes() -> None:
    result = as_it_is("replica-loss")
    assert all_completed(result)
    before, down, later = (rows_of(result, *span) for span in ((60, 290), (300, 420), (480, 900)))
    assert p99_s(down) > 5 * p99_s(before)
    assert p99_s(later) < 1.2 * p99_s(before)
    moved = result.requests[result.requests["preemptions"] > 0]
    assert len(moved) >= 10
    assert (moved["replica"] != 1).all()
    assert set(down["replica"]) == {0, 2, 3}
    assert set(rows_of(result, 430, 900)["replica"]) == {0, 1, 2, 3}
    # It comes back with no adapter in memory: who asks first finds each on disk.
    back = rows_of(result, 420, 900).sort_values("arrival_s")
    back = back[(back["replica"] == 1) & (back["adapter"].astype(str) != "")]
    first = back.groupby("adapter", observed=True).first()
    assert set(first["adapter_source"].astype(str)) == {"nvme"}


def test_without_a_retry_the_requests_of_the_lost_replica_fail() -> None:
    result = result_of("replica-loss", **{"gateway.on_replica_loss": "fail"})
    moved = (as_it_is("replica-loss").requests["preemptions"] > 0).sum()
    failed = result.requests[result.requests["status"] == "failed"]
    assert set(failed["reason"].astype(str)) == {"replica_lost"}
    assert set(failed["replica"]) == {1}
    assert (failed["finish_s"] == 300).all()
    assert len(failed) >= moved


def test_a_pool_that_sleeps_is_cheaper_and_the_first_of_a_burst_waits_for_it() -> None:
    asleep = as_it_is("scale-to-zero")
    awake = result_of("scale-to-zero", **{"fleet.0.autoscale.min": 1})
    assert all_completed(asleep) and all_completed(awake)
    hours = [result.summary["cost"]["replica_hours"] for result in (asleep, awake)]
    assert hours[0] < 0.5 * hours[1]
    assert hours[1] < 3 * awake.summary["simulation"]["span_s"] / 3600 / 2
    rows = asleep.requests.sort_values("arrival_s")
    for start_s in (1800, 9000, 18000):
        first = rows[rows["arrival_s"] >= start_s].iloc[0]
        assert 44 < first["queue_s"] <= 45
        behind = rows_of(asleep, first["arrival_s"], first["arrival_s"] + 40)
        assert (behind["finish_s"] > first["arrival_s"] + 44).all()
    assert awake.requests["queue_s"].max() < 10


def test_a_region_fails_over_and_nobodys_data_leaves_where_they_may_be() -> None:
    result = as_it_is("region-failover")
    rows = result.requests
    group, region = groups_of(rows), rows["replica"] // 2  # west, central, us; -1: nowhere
    for european in ("eu-bank", "eu-clinic"):
        assert set(region[group == european]) <= {0, 1}
        assert set(rows[group == european]["status"]) == {"completed"}
    assert set(region[(group == "us-bank") & (rows["replica"] >= 0)]) == {2}
    bank = rows[group == "eu-bank"]
    gone = bank[(bank["arrival_s"] >= 300) & (bank["arrival_s"] < 600)]
    assert set(gone["replica"]) == {2, 3}
    assert set(bank[bank["arrival_s"] > 601]["replica"]) == {0, 1}
    at_home = bank[bank["arrival_s"] < 290]
    assert gone["ttft_s"].median() - at_home["ttft_s"].median() == pytest.approx(0.08, abs=0.02)
    refused = rows[rows["status"] == "rejected"]
    assert set(groups_of(refused)) == {"us-bank"}
    assert set(refused["reason"].astype(str)) == {"unavailable"}
    assert len(refused) > 100
    assert refused["arrival_s"].between(800, 860).all()


def test_a_dedicated_replica_sees_nothing_of_the_others_and_costs_them() -> None:
    apart = as_it_is("hybrid-enterprise")
    quiet = result_of("hybrid-enterprise", **{"workload.arrivals": "poisson"})
    shared = result_of("hybrid-enterprise", **{"fleet.1.tenants": []})
    for result in (apart, quiet):
        assert set(rows_of(result, tier="dedicated")["replica"]) == {2}
        assert set(rows_of(result, tier="business")["replica"]) == {0, 1}
    own = p99_s(rows_of(apart, tier="dedicated"))
    assert own == pytest.approx(p99_s(rows_of(quiet, tier="dedicated")), rel=0.15)
    # "when the small ones ask for more, theirs are short"
    assert p99_s(rows_of(apart, 500, 700, tier="business")) > 3.0
    assert p99_s(rows_of(quiet, tier="business")) < 3.0
    # "the enterprise's p99 doubles, within its promise, and everybody else is served better"
    assert 1.6 * own < p99_s(rows_of(shared, tier="dedicated")) < 0.6
    assert p99_s(rows_of(shared, tier="business")) < 0.5 * p99_s(rows_of(apart, tier="business"))
