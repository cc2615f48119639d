"""Rollouts in whole runs: who is served by which version, and what the results tell of it."""

from __future__ import annotations

from typing import Any

import pytest

import simlora
from simlora.results.result import Result
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.serving.versions import Versions
from simlora.workload.traffic import open_traffic
from tests.simulating import run, small_scenario

CANARY = {"mode": "canary", "share": 0.2, "start_s": 20.0}
LONGER = {"output_factor": 3.0}
E2E = {"ttft_ratio": None, "e2e_ratio": 1.5, "percentile": 90, "min_requests": 20}


def scenario(rollout: dict[str, Any] | None, **changes: Any) -> Scenario:
    """Two tenants with the rollout, one without, at ten requests a second for 200 s."""
    group: dict[str, Any] = {"name": "acme", "count": 2, "rate_rps_each": 4.0}
    if rollout is not None:
        group["rollout"] = {"candidate": LONGER, **rollout}
    return small_scenario(
        tenants=[group, {"name": "other", "rate_rps_each": 2.0}],
        workload={
            "duration_s": 200.0,
            "prompt_tokens": {"uniform": {"min": 10, "max": 200}},
            "output_tokens": {"uniform": {"min": 5, "max": 40}},
        },
        **changes,
    )


def of_group(result: Result) -> dict[str, Any]:
    entry: dict[str, Any] = result.summary["versions"]["acme"]
    return entry


def without_version(result: Result) -> Any:
    table = result.requests.drop(columns="version", errors="ignore")
    return table.assign(adapter=table["adapter"].astype(str))


def test_a_run_without_rollouts_tells_nothing_of_versions() -> None:
    result = simlora.simulate(scenario(None))
    assert "versions" not in result.summary
    assert "version" not in result.requests.columns


@pytest.mark.parametrize("tier", ["warm", "nvme", "store"])
def test_a_candidate_that_nobody_is_sent_to_changes_no_request(tier: str) -> None:
    adapters = {"adapters": {"initial_tier": tier, "hot": {"max_adapters": 2}}}
    plain = simlora.simulate(scenario(None, **adapters))
    pinned = simlora.simulate(scenario({"mode": "pinned"}, **adapters))
    assert without_version(pinned).equals(without_version(plain))
    assert set(pinned.requests["version"].dropna()) == {"stable"}
    assert of_group(pinned)["versions"]["v2"]["requests"]["offered"] == 0


def test_every_request_is_served_by_the_version_it_was_assigned_at_its_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decided: dict[int, int] = {}
    assign = Versions.assign

    def noted(self: Versions, request: Request, now: float) -> None:
        assert request.index not in decided
        assign(self, request, now)
        decided[request.index] = request.adapter

    monkeypatch.setattr(Versions, "assign", noted)
    rollout = {**CANARY, "share": 0.5, "rollback": {**E2E, "window_s": 20.0}}
    small = scenario(rollout, adapters={"hot": {"max_adapters": 2}})
    deployment = expand(small)
    finished = run(small, open_traffic(deployment))
    (fact,) = finished.simulation.versions.facts(200.0)
    assert fact.rolled_back is not None  # some were under way to the candidate just then
    at_s = fact.rolled_back.at_s
    candidates = set(deployment.candidates.values())
    served = {request.index: request for request in finished.requests}
    assert served.keys() == decided.keys()
    for index, request in served.items():
        assert request.adapter == decided[index]
        assert request.adapter_state is not None
        assert request.adapter_state.index == decided[index]
        assert not (request.adapter in candidates and request.arrival_s > at_s)
    late = [r for r in finished.requests if r.adapter in candidates and r.finish_s > at_s]
    assert late


def test_versions_add_up_to_the_groups_requests_and_rows_name_theirs() -> None:
    result = simlora.simulate(scenario(CANARY))
    rows, entry = result.requests, of_group(result)
    of_acme = rows["tenant"].astype(str).str.startswith("acme")
    assert rows["version"].isna().equals(~of_acme)
    named = rows["adapter"].astype(str).str.endswith("@v2")
    assert (rows["version"] == "v2").equals(named)
    for name, figures in entry["versions"].items():
        mine = rows[rows["version"] == name]
        assert figures["requests"]["offered"] == len(mine)
        assert figures["requests"]["completed"] == (mine["status"] == "completed").sum()
        assert figures["copies"] == 0
        for metric in ("ttft_s", "tpot_s", "e2e_s"):
            expected = mine[metric].dropna().quantile([0.5, 0.99]).tolist()
            measured = [figures[metric]["p50"], figures[metric]["p99"]]
            assert measured == pytest.approx(expected)
        hot = (mine["adapter_source"] == "hot").mean()
        assert figures["adapter_hit_ratio"] == pytest.approx(hot)
    during = rows[of_acme & (rows["arrival_s"] >= 20.0)]
    assert entry["asked"] == len(during)
    assert entry["assigned"] == (during["version"] == "v2").sum()
    assert entry["share_assigned"] == pytest.approx(0.2, abs=0.05)


def test_a_rollback_is_told_and_ends_the_canary() -> None:
    result = simlora.simulate(scenario({**CANARY, "rollback": {**E2E, "window_s": 100.0}}))
    entry = of_group(result)
    at_s, verdict = entry["rolled_back_at_s"], entry["rollback"]
    assert 20.0 < at_s < 200.0
    assert verdict["metric"] == "e2e_s"
    assert verdict["candidate_s"] > 1.5 * verdict["stable_s"]
    on_trial = result.requests[result.requests["version"] == "v2"]
    assert 20.0 <= on_trial["arrival_s"].min() <= on_trial["arrival_s"].max() <= at_s
    assert entry["promoted_at_s"] is None


def test_a_promoted_version_serves_all_from_then_on() -> None:
    result = simlora.simulate(scenario({**CANARY, "end_s": 100.0}))
    assert of_group(result)["promoted_at_s"] == 100.0
    rows = result.requests
    after = rows[(rows["arrival_s"] >= 100.0) & rows["version"].notna()]
    assert set(after["version"]) == {"v2"}


def test_shadow_copies_are_counted_by_version_only() -> None:
    plain = simlora.simulate(scenario(None))
    shadowed = simlora.simulate(scenario({"mode": "shadow", "share": 0.5}))
    entry = of_group(shadowed)
    candidate = entry["versions"]["v2"]
    assert candidate["copies"] == candidate["requests"]["offered"] == entry["assigned"] > 500
    assert candidate["requests"]["completed"] == candidate["copies"]
    assert candidate["e2e_s"]["p50"] > entry["versions"]["stable"]["e2e_s"]["p50"]
    assert shadowed.summary["requests"] == plain.summary["requests"]
    for part in ("prompt_tokens", "output_tokens", "arrival_s"):
        before, after = (r.requests.sort_values("arrival_s")[part] for r in (plain, shadowed))
        assert before.tolist() == after.tolist()
    assert set(shadowed.requests["version"].dropna()) == {"stable"}
    assert shadowed.requests["request"].is_unique
    # The work is done all the same: users share the GPU with it.
    assert shadowed.summary["batch"]["mean_running"] > 1.3 * plain.summary["batch"]["mean_running"]


def test_a_shadow_that_is_too_slow_gets_no_more_copies() -> None:
    rollback = {**E2E, "window_s": 20.0}
    shadow = {"mode": "shadow", "share": 0.5}
    ended, went_on = (
        of_group(simlora.simulate(scenario({**shadow, "rollback": r}))) for r in (rollback, None)
    )
    assert 0 < ended["rolled_back_at_s"] < 50
    assert ended["versions"]["v2"]["copies"] < 0.3 * went_on["versions"]["v2"]["copies"]


def test_the_same_scenario_gives_the_same_versions() -> None:
    asked = scenario({**CANARY, "rollback": {**E2E, "window_s": 100.0}})
    first, second = (simlora.simulate(asked) for _ in range(2))
    assert first.requests.equals(second.requests)
    assert first.summary["versions"] == second.summary["versions"]


def test_a_versions_figures_leave_out_the_warm_up() -> None:
    result = simlora.simulate(scenario(CANARY, run={"warmup_s": 100.0}))
    rows = result.requests[result.requests["arrival_s"] >= 100.0]
    for name, figures in of_group(result)["versions"].items():
        assert figures["requests"]["offered"] == (rows["version"] == name).sum()


def test_tenants_that_change_their_base_model_change_pools() -> None:
    asked = scenario(
        {"mode": "switch", "start_s": 50.0, "every_s": 100.0, "candidate": {"model": "new"}},
        fleet=[{"gpu": "mini"}, {"gpu": "mini", "model": "new"}],
        catalog={
            "gpus": {"mini": {"base": "a10g", "memory_gib": 64.0}},
            "models": {"new": {"base": "tiny-llama"}},
        },
    )
    result = simlora.simulate(asked)
    assert of_group(result)["switched_at_s"] == [50.0, 150.0]
    rows = result.requests
    assert (rows["status"] == "completed").all()
    for tenant, switched_s in (("acme-0000", 50.0), ("acme-0001", 150.0), ("other-0000", 1e9)):
        mine = rows[rows["tenant"].astype(str) == tenant]
        assert ((mine["arrival_s"] >= switched_s) == (mine["replica"] == 1)).all()
