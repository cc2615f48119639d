"""Whole runs in which several options meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simlora
from simlora.scenario.schema import Scenario
from simlora.serving.request import COMPLETED, REJECTED
from tests.simulating import Ask, run, small_scenario


def l40s(**changes: Any) -> Scenario:
    """One L40S with Llama 3.1 8B."""
    return Scenario.model_validate(
        {"name": "whole", "model": "llama-3.1-8b", "fleet": [{"gpu": "l40s"}], **changes}
    )


@pytest.mark.parametrize("scheduler", [{"order": "strict_fcfs"}, {"pass_over_s": 0.5}])
def test_who_gives_up_waiting_for_an_adapter_takes_its_place_with_it(
    scheduler: dict[str, Any], tmp_path: Path
) -> None:
    """Else the adapter would stay at the head of the backlog for a request far behind, and nothing
    were loaded any more."""
    scenario = l40s(
        seed=341,
        tenants=[
            {"name": "a", "count": 5},
            {"name": "b", "count": 5, "tier": "gold", "adapters": 3},
        ],
        workload={"rate_rps": 10},
        engine={"max_num_seqs": 8, "scheduler": scheduler},
        gateway={"timeouts_s": {"gold": 20}},
        tiers={"gold": {}},
    )
    requests = simlora.simulate(scenario, out=tmp_path / "run").summary["requests"]
    assert requests["unfinished"] == 0
    assert requests["failed"] > 1000 < requests["completed"]


def test_an_adapter_of_a_chunk_stays_in_the_step_when_its_decoding_request_is_thrown_out() -> None:
    """The reference mode counts the step's adapters anew, and says so if they differ."""
    scenario = l40s(
        seed=357,
        tenants=[{"name": "b", "count": 3, "adapter": {"rank": 64, "targets": "attention"}}],
        workload={"rate_rps": 1},
        engine={"max_model_len": 2048, "memory": {"kv_cache_tokens": 4096}},
        adapters={"hot": {"max_adapters": 5, "when_full": "preempt"}},
        run={"fast_forward": False, "report": False},
    )
    result = simlora.simulate(scenario)
    assert result.summary["batch"]["preemptions"] > 100
    assert result.summary["requests"]["completed"] == result.summary["requests"]["offered"]


def test_a_fleet_that_never_came_up_has_a_result() -> None:
    scenario = l40s(
        fleet=[{"gpu": "l40s", "autoscale": {"min": 0, "startup_s": 90}}],
        tenants=[{"name": "a"}],
        workload={"duration_s": 60, "rate_rps": 0.2},
        gateway={"when_unavailable": "reject"},
        run={"report": False},
    )
    summary = simlora.simulate(scenario).summary
    assert summary["requests"]["rejected"] == summary["requests"]["offered"] > 0
    assert summary["adapters"]["lookups"] == 0


SHADOWED = [{"name": "a", "rollout": {"mode": "shadow", "share": 1.0}}]


def test_what_the_gateway_refuses_is_not_copied_for_a_version_on_trial() -> None:
    finished = run(
        small_scenario(tenants=SHADOWED), [Ask(0.0, 0, 2000, 5), Ask(1.0, 0, 10, 5, tenant=0)]
    )
    assert [(r.index, r.shadow, r.status) for r in finished.requests] == [
        (-2, True, COMPLETED),
        (0, False, REJECTED),
        (1, False, COMPLETED),
    ]


def test_a_copy_waits_at_the_gateway_with_its_original_and_is_never_sent_again() -> None:
    scenario = small_scenario(
        tenants=SHADOWED,
        gateway={"rate_limits": {"standard": {"rps": 0.5, "over_limit": "delay"}}},
        workload={"rate_rps": 1.0, "clients": {"retries": 3}},
    )
    finished = run(scenario, [Ask(0.0, 0), Ask(0.1, 0), Ask(0.2, 0)])
    copies = {-1 - r.index: r for r in finished.requests if r.shadow}
    originals = {r.index: r for r in finished.requests if not r.shadow}
    assert copies.keys() == originals.keys() == {0, 1, 2}
    for index, copy in copies.items():
        assert copy.attempts == 1
        # Both come in when the bucket lets the original in; nothing is taken out for the copy.
        assert copy.queue_s == pytest.approx(2.0 * index - 0.1 * index, abs=0.1)
