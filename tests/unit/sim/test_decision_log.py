"""The decision log of a simulated run: who decided, in which step, and that it changes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import simlora
from simlora.results import files
from simlora.results.decision_file import read_decisions
from simlora.results.decisions import Line
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.sim.simulation import Simulation
from tests.simulating import Collector, small_scenario, traffic_of
from tests.unit.sim.failing import STEP_S, Ask, story

BUSY: dict[str, Any] = {"workload": {"rate_rps": 20.0, "duration_s": 10.0}}


def log_of(scenario: Scenario, *asks: Ask) -> list[Line]:
    """Every decision about these requests."""
    deployment = expand(scenario)
    lines: list[Line] = []
    collector = Collector(deployment)
    Simulation(deployment, traffic_of(deployment, asks), collector, log=lines.extend).run()
    return lines


def of(lines: list[Line], *decisions: str) -> list[Line]:
    return [line for line in lines if line["decision"] in decisions]


def test_a_run_writes_a_log_only_where_it_is_asked_for(tmp_path: Path) -> None:
    simlora.simulate(small_scenario(**BUSY), out=tmp_path / "without")
    assert not (tmp_path / "without" / files.DECISIONS).exists()
    logged = small_scenario(**BUSY, run={"decisions": True})
    result = simlora.simulate(logged, out=tmp_path / "with")
    lines = list(read_decisions(tmp_path / "with" / files.DECISIONS))
    turned_away = of(lines, "turned_away")
    assert len(turned_away) == result.summary["requests"]["rejected"] > 0
    assert len(of(lines, "sent")) + len(turned_away) == result.summary["requests"]["offered"]
    assert len(of(lines, "step")) == result.summary["batch"]["steps"]
    in_memory = simlora.simulate(logged)
    assert list(read_decisions(in_memory.directory / files.DECISIONS)) == lines


def test_a_log_changes_no_request() -> None:
    scenario = small_scenario(**BUSY, adapters={"hot": {"max_adapters": 2}})
    with_log, without, reference = (
        simlora.simulate(scenario.with_overrides({"run": run})).requests
        for run in ({"decisions": True}, {}, {"fast_forward": False})
    )
    assert with_log.equals(reference)
    assert (with_log["request"] == without["request"]).all()
    assert with_log["finish_s"].to_numpy() == pytest.approx(without["finish_s"], abs=1e-9)


def test_of_one_replica_nobody_needs_to_be_told_which() -> None:
    lines = log_of(story(), Ask(0.0, 0, output_tokens=3))
    assert {line["decision"] for line in lines if "replica" in line} == {"sent"}
    assert [line["step"] for line in of(lines, "step")] == [0, 1, 2]
    assert of(lines, "finished")[0]["step"] == 2


def test_each_replica_of_a_fleet_counts_its_own_steps() -> None:
    """The first request has four steps on replica 0, the second two on replica 1."""
    scenario = story(replicas=2, gateway__routing="round_robin")
    lines = log_of(scenario, Ask(0.0, output_tokens=4), Ask(STEP_S / 2, output_tokens=2))
    steps = [(line["replica"], line["step"]) for line in of(lines, "step")]
    assert steps == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (0, 3)]
    assert [line["replica"] for line in of(lines, "finished")] == [1, 0]


def test_what_the_gateway_decides_is_of_no_replica_of_a_fleet() -> None:
    limit = {"standard": {"rps": 0.5}}
    scenario = story(replicas=2, gateway__rate_limits=limit, workload__clients__retries=1)
    (turned_away, held_back) = of(
        log_of(scenario, Ask(0.0), Ask(0.2, tenant=0)), "turned_away", "held_back"
    )
    assert (turned_away["step"], turned_away["replica"]) == (None, None)
    assert (turned_away["reason"], turned_away["final"]) == ("rate_limit", False)
    assert held_back["wait_s"] == pytest.approx(1.8)


def test_a_replica_that_comes_back_counts_on_and_its_requests_are_told_to_be_lost() -> None:
    """Lost in its fifth step; the request goes on there from the tokens that it had."""
    crash = {"crash": 0, "at_s": 0.45, "duration_s": 1.0}
    lines = log_of(story(crash, gateway__when_unavailable="wait"), Ask(0.0, output_tokens=10))
    assert [line["decision"] for line in of(lines, "sent", "lost", "finished")] == [
        "sent",
        "lost",
        "sent",
        "finished",
    ]
    # The lost step was begun and is not done: its number comes again.
    assert [line["step"] for line in of(lines, "step")] == [0, 1, 2, 3, 4, *range(4, 10)]


def test_whoever_fails_is_told_once_wherever_it_is() -> None:
    """Given up at the gateway, in the queue, in the batch; and failed with an adapter's load."""
    limits = {"slow": {"rps": 0.1, "over_limit": "delay"}}
    scenario = story(
        tenants=[{"name": "tenant"}, {"name": "slow", "tier": "slow"}],
        tiers={"slow": {}},
        engine__max_num_seqs=1,
        gateway__timeouts_s={"standard": 0.55, "slow": 0.55},
        gateway__rate_limits=limits,
    )
    asks = (
        Ask(0.0, tenant=0, output_tokens=20),
        Ask(0.01, tenant=0),
        Ask(0.02, tenant=1),
        Ask(0.03, tenant=1),
    )
    failed = of(log_of(scenario, *asks), "failed")
    assert Counter(line["request"] for line in failed) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert {line["reason"] for line in failed} == {"timeout"}
    assert [line["request"] for line in failed if "kv_tokens" in line] == [0]

    broken = {"initial_tier": "store", "loading": {"corrupt": ["tenant-0001"]}}
    lines = log_of(story(adapters=broken), Ask(0.0, 1), Ask(0.1, 1), Ask(0.2, 2))
    assert [line["request"] for line in of(lines, "failed")] == [0, 1]
    assert [line["attempt"] for line in of(lines, "fetch_started") if line["attempt"]]


def test_what_is_loaded_ahead_of_requests_is_told() -> None:
    ahead = {"initial_tier": "nvme", "prefetch": {"top_k": 2}}
    lines = log_of(story(adapters=ahead), Ask(5.0, 2), Ask(6.0, 2), Ask(7.0, 3))
    before = [line["adapter"] for line in lines if line["time_s"] < 5.0]
    assert {"tenant-0002", "tenant-0003"} <= set(before)
