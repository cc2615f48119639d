"""What a server of one replica does where the simulation has a fleet, or its driver knows more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from simlora.live.server import Server
from simlora.results.decisions import Line
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import COMPLETED, REJECTED, Request
from simlora.workload.requests import requests_of
from tests.simulating import Ask, small_scenario, traffic_of

STEP_S = 0.1


class Served:
    """A server that has received requests, whose steps take `STEP_S` and whose timers nobody
    hears."""

    def __init__(self, scenario: Scenario, asks: Sequence[Ask], stopped: bool = False) -> None:
        deployment = expand(scenario)
        traffic = traffic_of(deployment, asks)
        self.ended: list[Request] = []
        log = StepLog(len(deployment.tiers))
        self.server = Server(deployment, traffic.prefix_block_tokens, log, self.ended)
        self.server.stopped_retries = stopped
        self.requests = list(requests_of(deployment, traffic))
        for request in self.requests:
            self.server.receive(request, request.arrival_s)
        self.now = self.requests[-1].arrival_s

    def step(self) -> None:
        assert self.server.schedule(self.now) is not None
        self.now += STEP_S
        self.server.complete(self.now, STEP_S, 0.0)

    def lines(self, *decisions: str) -> list[Line]:
        """Those not yet told, of these kinds."""
        return [line for line in self.server.decisions.drain() if line["decision"] in decisions]


def test_an_answer_that_ends_early_is_told_as_finished_at_that_step_boundary() -> None:
    served = Served(small_scenario(), [Ask(0.0, output_tokens=50)])
    (request,) = served.requests
    for _ in range(3):
        served.step()
    served.server.end_early(request, served.now)
    (line,) = served.lines("left", "finished")
    assert (line["decision"], line["time_s"], line["step"]) == ("finished", served.now, 3)
    assert (request.status, request.output_tokens) == (COMPLETED, 3)
    assert served.server.over


SHADOW: dict[str, Any] = {
    "tenants": [{"name": "tenant", "count": 4, "rollout": {"mode": "shadow", "share": 1.0}}]
}


def test_no_copy_is_sent_of_a_request_that_is_turned_away() -> None:
    limit = {"rate_limits": {"standard": {"rps": 0.1}}}
    asks = [Ask(0.0, 0), Ask(0.1, 0)]
    served = Served(small_scenario(**SHADOW, gateway=limit), asks)
    assert [line["request"] for line in served.lines("sent")] == [0, -1]
    facts = served.server.versions.facts(served.now)[0]
    assert (facts.asked, facts.assigned) == (1, 1)


def test_a_copy_that_is_turned_away_does_not_come_again() -> None:
    """A request is turned away once its adapter is cold; that of the copy always is."""
    scenario = small_scenario(
        **SHADOW,
        adapters={"cold_start": "reject", "initial_tier": "store"},
        workload={"rate_rps": 1.0, "clients": {"retries": 5}},
    )
    served = Served(scenario, [Ask(0.0, 0)])
    refused = served.lines("turned_away")
    assert [(line["request"], line["final"]) for line in refused] == [(0, False), (-1, True)]
    assert [request.index for request in served.ended] == [-1]


@pytest.mark.parametrize("stopped", [False, True])
def test_whoever_is_turned_away_comes_again_only_until_retries_are_stopped(stopped: bool) -> None:
    scenario = small_scenario(
        gateway={"rate_limits": {"standard": {"rps": 1.0}}},
        workload={"rate_rps": 1.0, "clients": {"retries": 5}},
    )
    served = Served(scenario, [Ask(0.0, 0), Ask(0.1, 0)], stopped)
    assert [line["final"] for line in served.lines("turned_away")] == [stopped]
    assert len(served.server.timers) == (0 if stopped else 1)


@pytest.mark.parametrize("when_unavailable", ["wait", "reject"])
def test_a_request_for_a_replica_that_is_not_run_waits_for_none(when_unavailable: str) -> None:
    """It would wait for ever."""
    scenario = small_scenario(
        fleet=[{"gpu": "mini"}, {"gpu": "mini", "tenants": ["own"]}],
        tenants=[{"name": "tenant"}, {"name": "own"}],
        gateway={"when_unavailable": when_unavailable},
    )
    served = Served(scenario, [Ask(0.0, tenant=1)])
    assert [(r.status, r.reason) for r in served.ended] == [(REJECTED, "unavailable")]
    assert served.server.over


def test_loads_of_a_step_are_their_tenants_also_where_one_of_them_fails() -> None:
    """A step of 5.1 s, 5 of them for two adapters alike; the second comes to nothing."""
    scenario = small_scenario(
        tenants=[{"name": "tenant", "count": 2}],
        engine={"adapter_loading": "blocking"},
        adapters={"initial_tier": "warm"},
    )
    deployment = expand(scenario)
    asks = [Ask(0.0, adapter, prompt_tokens=100, output_tokens=1) for adapter in (0, 1)]
    traffic = traffic_of(deployment, asks)
    log = StepLog(len(deployment.tiers))
    server = Server(deployment, traffic.prefix_block_tokens, log, [])
    for request in requests_of(deployment, traffic):
        server.receive(request, 0.0)
    plan = server.schedule(0.0)
    assert plan is not None
    assert sorted(state.index for state in plan.blocking_loads) == [0, 1]
    server.load_failed(1, 5.0)
    server.complete(5.1, 5.1, 5.0)
    log.drain()
    assert log.batch_time.load_s == pytest.approx({0: 2.5, 1: 2.5})
    assert log.batch_time.busy_s[0] == pytest.approx(0.1)
    assert log.batch_time.busy_s[1] == pytest.approx(0.0)
