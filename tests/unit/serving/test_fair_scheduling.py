"""Queue disciplines, KV budgets and the choice of victims at work in a replica."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.serving.request import COMPLETED, Request
from tests.simulating import Ask, run, small_scenario, with_pool


def scenario(fairness: dict[str, Any] | None = None, **changes: Any) -> Scenario:
    gateway = changes.pop("gateway", {}) | ({"fairness": fairness} if fairness else {})
    return small_scenario(
        timing={"profile": "tests.timings:ConstantStep"},
        tenants=[{"name": "noisy"}, {"name": "quiet"}, {"name": "gold", "tier": "gold"}],
        tiers={"standard": {"weight": 1.0}, "gold": {"weight": 3.0}},
        engine={"max_model_len": 1024, "max_num_seqs": 2} | changes.pop("engine", {}),
        gateway=gateway,
        **changes,
    )


def flood(count: int = 40) -> list[Ask]:
    """Tenant 0 asks the base model for much at once, tenant 1 for little a little later."""
    noisy = [Ask(0.0, -1, 10, 20, tenant=0) for _ in range(count)]
    return [*noisy, *(Ask(0.001, -1, 10, 20, tenant=1) for _ in range(3))]


def last_finish_s(requests: list[Request], tenant: int) -> float:
    return max(request.finish_s for request in requests if request.tenant == tenant)


@pytest.mark.parametrize("policy", ["wfq", "vtc", "drr"])
def test_a_flood_does_not_hold_up_the_next_tenant(policy: str) -> None:
    fcfs, fair = (
        run(of, flood()).requests
        for of in (scenario(), scenario({"policy": policy, "quantum_tokens": 100}))
    )
    assert last_finish_s(fcfs, 1) > 0.9 * last_finish_s(fcfs, 0)
    assert last_finish_s(fair, 1) < 0.3 * last_finish_s(fair, 0)
    # Nothing is lost for it, and the whole takes as long.
    assert all(request.status == COMPLETED for request in fair)
    ends_s = [max(request.finish_s for request in requests) for requests in (fcfs, fair)]
    assert ends_s[1] == pytest.approx(ends_s[0], rel=0.05)


def test_strict_priority_serves_the_weightier_tier_first() -> None:
    asks = [*flood(), *(Ask(0.002, -1, 10, 20, tenant=2) for _ in range(3))]
    requests = run(scenario({"policy": "priority"}), asks).requests
    assert last_finish_s(requests, 2) < min(r.first_token_s for r in requests if r.tenant == 1)


def test_weights_divide_the_service_of_tiers_under_saturation() -> None:
    asks = [Ask(0.0, -1, 10, 20, tenant=t) for _ in range(300) for t in (0, 2)]
    requests = run(scenario({"policy": "wfq", "by": "tier"}), asks).requests
    done = sorted(requests, key=lambda request: request.finish_s)[:300]
    assert np.mean([request.tenant == 2 for request in done]) == pytest.approx(0.75, abs=0.03)


def test_the_backlog_of_adapters_is_worked_off_in_the_order_of_the_discipline() -> None:
    """One slot: whoever is next is decided when it comes free."""
    of = scenario({"policy": "priority"}, adapters={"hot": {"max_adapters": 1}})
    asks = [Ask(0.0, 0, 10, 50), Ask(0.01, 1, 10, 5), Ask(0.02, 2, 10, 5)]
    first, standard, gold = run(of, asks).requests
    assert first.finish_s < gold.finish_s < standard.finish_s


def most_at_once(requests: list[Request], tenant: int) -> int:
    mine = [r for r in requests if r.tenant == tenant]
    return max(sum(o.first_token_s <= r.first_token_s < o.finish_s for o in mine) for r in mine)


def test_a_kv_budget_bounds_what_a_tenant_holds_and_leaves_the_rest_to_others() -> None:
    seqs = {"max_num_seqs": 64}
    tokens = plan_memory(expand(scenario(engine=seqs)), 0).kv_capacity_tokens
    share = 3.5 * 120 / tokens  # three requests of 120 tokens, and a half
    asks = [Ask(0.0, -1, 20, 100, tenant=t) for _ in range(20) for t in (0, 1)]
    of = scenario(engine=seqs, gateway={"kv_budgets": {"noisy-0000": share}})
    requests = run(of, asks).requests
    assert all(request.status == COMPLETED for request in requests)
    assert most_at_once(requests, 0) == 3
    assert most_at_once(requests, 1) == 20


def test_a_request_that_alone_exceeds_its_budget_runs_alone() -> None:
    of = scenario(engine={"max_num_seqs": 64}, gateway={"kv_budgets": {"standard": 1e-6}})
    requests = run(of, [Ask(0.0, -1, 20, 100, tenant=0) for _ in range(4)]).requests
    assert all(request.status == COMPLETED for request in requests)
    assert most_at_once(requests, 0) == 1


def test_when_memory_runs_out_the_lowest_tier_gives_way() -> None:
    preempted = {}
    for victim in ("last", "lowest_tier"):
        engine = {"max_num_seqs": 64, "max_model_len": 600, "scheduler": {"victim": victim}}
        of = scenario(engine=engine)
        plan = plan_memory(expand(of), 0)
        of = with_pool(of, -(-1000 // plan.block_tokens) * plan.block_pages)
        # The gold tenant is admitted last, and would be the first to go.
        asks = [Ask(0.0, -1, 60, 400, tenant=t) for t in (0, 1, 2)]
        requests = run(of, asks).requests
        assert all(request.status == COMPLETED for request in requests)
        preempted[victim] = [request.preemptions > 0 for request in requests]
    assert preempted["last"][2]
    assert not preempted["lowest_tier"][2]
    assert any(preempted["lowest_tier"])
