"""Who leaves a replica before its time leaves nothing behind, and stands in nobody's way."""

from __future__ import annotations

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from tests.simulating import with_pool
from tests.unit.sim.failing import Ask, outcomes, story, tell

TENANTS = [{"name": "tenant", "count": 3}, {"name": "hasty", "tier": "gold"}]
HASTY = 3


def short_of_memory(timeout_s: float, **more: object) -> Scenario:
    """Room for one request of the greatest length; the fourth tenant gives up after a while."""
    scenario = story(
        tenants=TENANTS, tiers={"gold": {}}, gateway__timeouts_s={"gold": timeout_s}, **more
    )
    plan = plan_memory(expand(scenario), 0)
    pages = 4096 // plan.block_tokens * plan.block_pages
    return with_pool(scenario, pages + plan.adapter_pages(expand(scenario).adapters[0].parameters))


def test_behind_one_that_found_no_memory_the_next_moves_up_when_it_gives_up() -> None:
    """The second does not fit beside the first, which runs until 5 s; the third does."""
    asks = Ask(0.0, -1, 2000, 50), Ask(0.1, -1, 3000, 1, tenant=HASTY), Ask(0.2)
    finished = tell(short_of_memory(0.55), *asks)
    assert outcomes(finished) == ["completed", "failed: timeout", "completed"]
    assert finished.requests[2].finish_s == pytest.approx(0.8)


def test_the_memory_of_one_that_gives_up_goes_to_the_next() -> None:
    asks = Ask(0.0, HASTY, 3000, 50), Ask(0.4, -1, 3000, 1)
    finished = tell(short_of_memory(0.55), *asks)
    assert outcomes(finished) == ["failed: timeout", "completed"]
    # It leaves at a step boundary, and the next step is the other's.
    given_up, other = finished.requests
    assert other.finish_s == pytest.approx(given_up.finish_s + 0.1)
    finished.schedulers[0].memory.check()


def test_several_that_leave_at_one_boundary_leave_the_rest_as_it_was() -> None:
    asks = [Ask(0.0, HASTY, 10, 20)] * 3 + [Ask(0.0, 0, 10, 20)]
    finished = tell(short_of_memory(0.95), *asks)
    assert outcomes(finished) == ["failed: timeout"] * 3 + ["completed"]
    (scheduler,) = finished.schedulers
    scheduler.memory.check()
    assert scheduler.shape.decode_seqs == scheduler.shape.distinct_adapters == 0
    assert (scheduler.outstanding, scheduler.waiting) == (0, 0)


@pytest.mark.parametrize("policy", ["wfq", "drr", "vtc", "sjf", "priority"])
def test_under_every_discipline_whoever_stays_is_served(policy: str) -> None:
    """From the queue, from the batch and from behind an adapter they leave."""
    scenario = short_of_memory(
        0.55, gateway__fairness__policy=policy, adapters={"initial_tier": "nvme"}
    )
    scenario = scenario.with_overrides({"engine.max_num_seqs": 2})
    asks = [Ask(0.01 * i, i % 4 if i % 3 else -1, 10, 8, tenant=i % 4) for i in range(24)]
    finished = tell(scenario, *asks)
    for request, outcome in zip(finished.requests, outcomes(finished), strict=True):
        assert outcome == ("failed: timeout" if request.tenant == HASTY else "completed")
    (scheduler,) = finished.schedulers
    scheduler.memory.check()
    assert len(scheduler.queue) == scheduler.outstanding == 0
