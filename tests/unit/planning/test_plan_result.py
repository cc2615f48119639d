"""What `plan` tells beside the fleet: why there is none, budgets, peaks, growth, interruptions."""

from __future__ import annotations

import json

import pytest

from simlora.planning.plan import Plan, peak_of, plan
from simlora.planning.search import words
from simlora.planning.search.as_json import peak_json, plan_json
from simlora.planning.search.growth import Growth, with_load
from simlora.planning.search.peak import PRECISION
from simlora.planning.search.promises import promises_of, requests_by_tier
from simlora.planning.search.trial import most_broken, run_trial
from simlora.scenario.deployment import expand
from tests.unit.planning.planned import planned

ONE_KIND = {"plan__gpus": ["h100-80gb"], "plan__weights": ["fp8"], "plan__hot_adapters": [32]}


@pytest.fixture(scope="module")
def found() -> Plan:
    return plan(planned(), what_if=[Growth(load=2)])


def test_a_promise_shorter_than_a_prefill_is_refused_by_arithmetic_alone() -> None:
    found = plan(planned(tiers__gold__sla__ttft_p99_s=0.01, plan__gpus=["l40s"]))
    assert found.best is None and not found.within_budget
    assert found.counted.runs == 0
    told = " ".join(words.infeasible(found))
    assert "p99 TTFT of gold is promised within 10 ms, but on 1 x l40s" in told
    assert "ms of weights or compute" in told
    assert plan_json(found)["infeasible"]


def test_a_bound_is_told_in_seconds_above_one_and_without_what_has_no_part_in_it() -> None:
    long = planned(
        plan__gpus=["l40s"],
        plan__weights=["bf16"],
        tiers__gold__sla={"ttft_p99_s": 1.02},
        workload__prompt_tokens={"fixed": 120_000},
        engine__max_model_len=None,
        engine__memory__max_loras=1,
        plan__hot_adapters=[1],
    )
    told = " ".join(words.infeasible(plan(long)))
    assert "promised within 1.02 s, but on" in told and "(120,000 prompt tokens)" in told
    assert "e+0" not in told and "output" not in told


def test_a_load_above_the_most_replicas_is_refused_by_arithmetic_alone() -> None:
    found = plan(planned(workload__rate_rps=500, plan__max_replicas=2, plan__gpus=["l40s"]))
    assert found.best is None and found.counted.runs == 0
    assert "replicas at the least, more than the 2 allowed" in " ".join(words.infeasible(found))


def test_where_simulation_finds_nothing_the_closest_fleet_and_what_it_misses_is_told() -> None:
    found = plan(planned(**ONE_KIND, plan__max_replicas=1, workload__rate_rps=60))
    assert found.best is None and found.counted.runs > 0
    told = " ".join(words.infeasible(found))
    assert "The closest, 1 x [h100-80gb fp8, 32 hot], misses p99" in told
    assert "promised" in told


def test_a_budget_below_the_cheapest_says_by_how_much_and_what_it_reaches(found: Plan) -> None:
    assert found.best is not None
    budget = found.best.usd_per_month - 1
    poor = plan(planned(), max_cost_usd=budget, headroom=False)
    assert poor.best is not None and poor.best.name == found.best.name
    assert not poor.within_budget
    assert poor.affordable is not None and poor.affordable.usd_per_month <= budget
    assert 0 <= min(poor.affordable.attainment.values()) < 0.99
    told = " ".join(words.over_budget(poor))
    assert "$1 above the" in told and poor.affordable.name in told
    rich = plan(planned(), max_cost_usd=found.best.usd_per_month, headroom=False)
    assert rich.within_budget and rich.affordable is None


def test_nothing_is_affordable_for_a_dollar() -> None:
    poor = plan(planned(**ONE_KIND), max_cost_usd=1, headroom=False)
    assert poor.affordable is None
    assert "Nothing that might do costs $1 or less" in " ".join(words.over_budget(poor))


def test_the_fleet_holds_its_peak_and_breaks_within_five_percent(found: Plan) -> None:
    assert found.best is not None and found.peak is not None
    peak = found.peak
    assert peak.holds >= 1 and peak.breaks is not None and peak.first is not None
    assert 1 < peak.breaks / peak.holds <= PRECISION
    fleet = with_load(found.best.scenario, peak.holds)
    promises = promises_of(expand(fleet))
    for seed in (fleet.seed, fleet.seed + 1):
        most = most_broken(promises, requests_by_tier(fleet, seed))
        assert run_trial(fleet, seed, promises, most).ok
    kept = peak.first.kept
    assert kept.broken / kept.judged > peak.first.promise.allowed
    assert peak.first.promise.name in peak.first.sentence


def test_a_fleet_too_small_for_its_load_holds_a_part_of_it() -> None:
    peak = peak_of(planned(fleet=[{"gpu": "h100-80gb"}], workload__rate_rps=150))
    assert 0 < peak.holds < 1
    assert peak.requests_per_s == pytest.approx(150 * peak.holds)
    assert json.dumps(peak_json(peak), allow_nan=False)


def test_scarce_slots_are_named_as_what_breaks() -> None:
    peak = peak_of(
        planned(
            fleet=[{"gpu": "h200"}],
            engine__memory__max_loras=12,
            workload__rate_rps=8,
        )
    )
    assert peak.first is not None and peak.first.before_s is not None
    assert peak.first.before_s < peak.first.after_s
    assert peak.first.phase == "waiting for adapters"
    assert "found hot" in peak.first.pressure


def test_a_fleet_that_holds_nothing_is_told_what_breaks_with_all_of_its_load() -> None:
    peak = peak_of(planned(engine__memory__max_loras=1))
    assert peak.holds == 0
    told = " ".join(words.headroom(peak))
    assert "With all of it, p99 TTFT of" in told and "waiting for adapters takes" in told


def test_twice_the_load_is_planned_for_and_costs_more(found: Plan) -> None:
    (regrown,) = found.regrown
    assert found.best is not None and regrown.best is not None
    assert regrown.best.usd_per_month >= found.best.usd_per_month
    cold = plan(with_load(planned(), 2), headroom=False)
    assert cold.best is not None
    assert cold.best.name == regrown.best.name  # where the search began makes no difference
    assert "load x 2" in " ".join(words.regrown(found))


def test_the_front_gets_faster_as_it_gets_dearer(found: Plan) -> None:
    assert found.front[0].usd_per_month == found.best.usd_per_month  # type: ignore[union-attr]
    costs = [one.usd_per_month for one in found.front]
    assert costs == sorted(costs)
    ttfts = [one.ttft_p99_s for one in found.front]
    assert ttfts == sorted(ttfts, reverse=True)


def test_the_confidence_is_said_in_words_and_holds(found: Plan) -> None:
    assert "with 95% confidence" in words.confidence(found)
    assert found.best is not None and found.fresh_seeds is not None
    assert not {found.scenario.seed, *found.seeds} & set(found.fresh_seeds)
    assert f"(seeds {found.fresh_seeds[0]} to" in words.confidence(found)
    assert [one.seed for one in found.best.confirmation.outcomes] == list(found.fresh_seeds)
    for one in found.best.confirmation.evidence:
        assert one.broken_share <= one.upper <= one.promise.allowed
        assert one.requests >= 299


def test_json_is_plain_and_names_the_effort(found: Plan) -> None:
    told = json.loads(json.dumps(plan_json(found), allow_nan=False))
    assert told["best"]["fleet"] == found.best.name  # type: ignore[union-attr]
    assert told["search"]["requests"] == found.searched.requests > 0
    assert told["search"]["all_requests"] == found.counted.requests
    assert told["what_if"][0]["growth"] == {"tenants": 1.0, "load": 2}
    assert [server["name"] for server in told["servers"]] == ["vllm", "sglang", "lorax"]


@pytest.mark.parametrize("after", [0, 3, 12])
def test_interrupted_it_keeps_the_best_so_far(after: int, found: Plan) -> None:
    told: list[str] = []

    def interrupt(line: str) -> None:
        told.append(line)
        if len(told) > after:
            raise KeyboardInterrupt

    cut = plan(planned(), tell=interrupt)
    assert cut.interrupted
    passed = ("meets every promise again", "confirmed")
    confirmed = [line.partition(": ")[0] for line in told if line.endswith(passed)]
    assert (cut.best is None) == (not confirmed[: len(confirmed)] or not cut.by_gpu)
    if cut.best is not None:
        assert cut.best.name in confirmed
        assert "no further ones have confirmed it" in words.confidence(cut)
        assert found.best is not None
        assert cut.best.usd_per_month >= found.best.usd_per_month
    assert json.dumps(plan_json(cut), allow_nan=False)


def test_a_fleet_that_fresh_seeds_do_not_confirm_is_given_up_for_the_next_and_told() -> None:
    # The promise is so tight that the fleet which the search's seeds choose keeps it by luck.
    found = plan(
        planned(
            workload__rate_rps=15,
            tiers__gold__sla__ttft_p99_s=0.15,
            plan__gpus=["l40s"],
            plan__weights=["fp8"],
            plan__hot_adapters=[8, 32],
        ),
        headroom=False,
    )
    assert found.best is not None and found.refuted and found.fresh_seeds is not None
    (given_up,) = found.refuted
    assert given_up.name != found.best.name
    assert given_up.usd_per_month <= found.best.usd_per_month
    assert given_up.name not in [one.name for one in (*found.by_gpu, *found.front)]
    tried_first = range(found.seeds[-1] + 1, found.fresh_seeds[0])
    assert len(tried_first) > 0  # each attempt has seeds of its own
    told = words.confidence(found)
    assert f"not confirmed on fresh seeds: {given_up.name} ({given_up.why})" in told
    assert plan_json(found)["refuted"][0]["name"] == given_up.name
