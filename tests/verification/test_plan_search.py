"""The search of `plan` against an exhaustive sweep of the same space, and its fleet against what a
run of it says."""

from __future__ import annotations

import pytest

from simlora import simulate
from simlora.planning.plan import Plan, plan
from simlora.planning.search.candidates import candidates
from simlora.planning.search.promises import promises_of
from simlora.planning.search.space import configurations
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from tests.benchmarks.plan_search import Swept, sweep
from tests.unit.planning.planned import planned

MOST_SHARE = 0.4  # of the sweep's requests; the space is small, and most of it is near the answer


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({}, id="many-replicas"),
        pytest.param(
            # With seed 10 a fleet that the own seed lets pass is found out by the further ones.
            {"seed": 10, "workload__rate_rps": 12, "tiers__gold__sla__ttft_p99_s": 0.25},
            id="tight-promise",
        ),
    ],
)
def case(request: pytest.FixtureRequest) -> tuple[Scenario, Plan, Swept]:
    scenario = planned(**request.param)
    found = plan(scenario, headroom=False)
    return scenario, found, sweep(scenario, 1, len(found.seeds))


def test_it_finds_the_fleet_that_trying_everything_finds(
    case: tuple[Scenario, Plan, Swept],
) -> None:
    _, found, swept = case
    assert found.best is not None
    assert found.best.name == swept.cheapest
    assert len(swept.feasible) < swept.points  # there was something to get wrong


def test_it_finds_the_least_cost_of_every_kind_of_gpu(case: tuple[Scenario, Plan, Swept]) -> None:
    scenario, found, swept = case
    for gpu in scenario.plan.gpus or ():
        costs = [usd for name, usd in swept.feasible.items() if f"[{gpu} " in name]
        by_gpu = [
            one.usd_per_month for one in found.by_gpu if one.candidate.configuration.gpu == gpu
        ]
        assert by_gpu == pytest.approx([min(costs)] if costs else [])


def test_it_simulates_a_fraction_of_the_requests(case: tuple[Scenario, Plan, Swept]) -> None:
    _, found, swept = case
    assert found.counted.requests <= MOST_SHARE * swept.requests


def test_no_bound_rules_out_a_fleet_that_meets_every_promise(
    case: tuple[Scenario, Plan, Swept],
) -> None:
    scenario, _, swept = case
    left = candidates(scenario, configurations(scenario), promises_of(expand(scenario))).left
    allowed = {
        candidate.name(replicas)
        for candidate in left
        for replicas in range(candidate.floor.replicas, scenario.plan.max_replicas + 1)
    }
    assert set(swept.feasible) <= allowed


def test_a_run_of_the_fleet_meets_every_promise(case: tuple[Scenario, Plan, Swept]) -> None:
    _, found, _ = case
    assert found.best is not None
    fleet = found.best.scenario
    for seed in (fleet.seed, *found.seeds):
        tiers = simulate(fleet.model_copy(update={"seed": seed})).summary["tiers"]
        met = [bound["met"] for tier in tiers.values() for bound in tier["sla"].values()]
        assert met == [True] * 3


def test_the_fleet_and_the_count_are_the_same_in_several_processes(
    case: tuple[Scenario, Plan, Swept],
) -> None:
    scenario, found, _ = case
    again = plan(scenario, jobs=2, headroom=False)
    assert found.best is not None and again.best is not None
    assert again.best.name == found.best.name
    assert again.counted == found.counted
    assert [one.name for one in again.by_gpu] == [one.name for one in found.by_gpu]
    assert again.best.confirmation == found.best.confirmation
