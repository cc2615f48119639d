"""Ready-made scenarios of adapter versions show what they say they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simlora
from simlora.results.result import Result

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ROLLOUT = "tenants.0.rollout"


def result_of(name: str, **changes: Any) -> Result:
    return simlora.simulate(simlora.load_scenario(SCENARIOS / f"{name}.yaml", changes))


def acme(result: Result, start_s: float, end_s: float) -> Any:
    """The requests of acme that arrived between two instants."""
    rows = result.requests
    within = (rows["arrival_s"] >= start_s) & (rows["arrival_s"] < end_s)
    return rows[within & (rows["tenant"].astype(str) == "acme-0000")]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_canary_with_longer_answers_is_rolled_back_by_itself(seed: int) -> None:
    result = result_of("canary", seed=seed)
    entry = result.summary["versions"]["acme"]
    assert entry["share_assigned"] == pytest.approx(0.05, abs=0.012)
    at_s, verdict = entry["rolled_back_at_s"], entry["rollback"]
    assert 600 < at_s < 1200  # "15 min", long before the end of the canary
    assert (verdict["metric"], verdict["percentile"]) == ("e2e_s", 95)
    assert verdict["candidate_s"] > 1.3 * verdict["stable_s"]
    assert verdict["candidate_requests"] >= 200
    assert set(acme(result, at_s + 0.001, 3600)["version"]) == {"stable"}
    assert result.summary["requests"]["completed"] == result.summary["requests"]["offered"]


def test_a_version_like_the_old_one_is_not_rolled_back() -> None:
    for seed in range(3):
        alike = {"rank": 16, "targets": "all-linear"}
        result = result_of(
            "canary",
            seed=seed,
            **{f"{ROLLOUT}.candidate.adapter": alike, f"{ROLLOUT}.candidate.output_factor": 1.0},
        )
        entry = result.summary["versions"]["acme"]
        assert entry["rollback"] is None
        assert entry["promoted_at_s"] == 2940


def test_without_a_rollback_all_of_acme_waits_half_as_long_again() -> None:
    result = result_of("canary", **{f"{ROLLOUT}.rollback": None})
    assert result.summary["versions"]["acme"]["promoted_at_s"] == 2940
    before, after = acme(result, 0, 60), acme(result, 2940, 3600)
    assert set(after["version"]) == {"v2"}
    assert after["e2e_s"].median() / before["e2e_s"].median() == pytest.approx(1.5, abs=0.25)


def test_the_old_pool_empties_as_the_new_one_fills() -> None:
    result = result_of("base-migration")
    requests, timeline = result.summary["requests"], result.timeline
    assert requests["completed"] == requests["offered"]
    switched_at_s = result.summary["versions"]["clinic"]["switched_at_s"]
    assert (len(switched_at_s), switched_at_s[0], switched_at_s[-1]) == (40, 300, 44 * 60)
    is_new = timeline["replica"] >= 2
    shares = []
    for start_s, end_s in ((0, 300), (1400, 1600), (2700, 3000)):
        within = (timeline["time_s"] > start_s) & (timeline["time_s"] <= end_s)
        new, old = (timeline[within & of]["running"].sum() for of in (is_new, ~is_new))
        shares.append(new / (new + old))
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.5, abs=0.15)
    assert shares[2] == 1
    # Each version is served by the base that it was trained for.
    rows = result.requests
    assert ((rows["version"] == "llama-3.1") == (rows["replica"] >= 2)).all()
    old, *_, new = result.summary["memory"]["replicas"]
    assert new["kv_capacity_tokens"] > 3 * old["kv_capacity_tokens"]
