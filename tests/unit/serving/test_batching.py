"""Who may join a replica's batch: orders, grouped and confined batches, merged mode."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.batch_shape import BatchShape
from simlora.serving.batching import Merging
from simlora.serving.request import COMPLETED, Request
from tests.simulating import Ask, Finished, run, small_scenario
from tests.timings import ConstantStep

STEP_S = ConstantStep.step_s


class LoraStep(ConstantStep):
    """A step takes 100 ms, and 50 ms more for every distinct adapter in it."""

    def step(self, shape: BatchShape) -> float:
        return self.step_s + 0.05 * shape.distinct_adapters


def scenario(rules: dict[str, Any], **changes: Any) -> Scenario:
    return small_scenario(
        timing={"profile": "tests.unit.serving.test_batching:LoraStep"},
        tenants=[
            {"name": "a"},
            {"name": "b", "trust_class": "other"},
            {"name": "gold", "tier": "gold"},
        ],
        tiers={"standard": {"weight": 1.0}, "gold": {"weight": 3.0}},
        engine={"max_model_len": 1024, "scheduler": rules} | changes.pop("engine", {}),
        **changes,
    )


def constant(rules: dict[str, Any], **changes: Any) -> Scenario:
    changed = scenario(rules, **changes)
    return changed.with_overrides({"timing.profile": "tests.timings:ConstantStep"})


def merging_of(finished: Finished) -> Merging:
    merging = finished.schedulers[0].rules.merging
    assert isinstance(merging, Merging)
    return merging


def first_tokens_s(requests: list[Request]) -> list[float]:
    return [request.first_token_s for request in requests]


# --- orders ----------------------------------------------------------------------------------


SLOW_STORE = {
    "initial_tier": "store",
    "store": {"latency_s": 2.0},
}
# Adapter 0 is hot when adapter 1 is asked for, which takes over two seconds to come.
COLD_MISS = [Ask(0.0, 0), Ask(5.0, 1), Ask(5.1, 0), Ask(6.0, 0)]


def test_resident_first_passes_over_a_cold_request() -> None:
    for order in ("fcfs", "resident_first"):
        requests = run(constant({"order": order}, adapters=SLOW_STORE), COLD_MISS).requests
        _, cold, early, late = first_tokens_s(requests)
        assert (early, late) == pytest.approx((5.1 + STEP_S, 6.0 + STEP_S))
        assert cold > 7.0


def test_strict_fcfs_lets_nobody_pass_a_cold_request() -> None:
    finished = run(constant({"order": "strict_fcfs"}, adapters=SLOW_STORE), COLD_MISS)
    _, cold, early, late = first_tokens_s(finished.requests)
    assert cold == early == late > 7.0


def test_a_bound_on_being_passed_over_lets_only_those_pass_that_come_before_it() -> None:
    finished = run(constant({"pass_over_s": 0.5}, adapters=SLOW_STORE), COLD_MISS)
    _, cold, early, late = first_tokens_s(finished.requests)
    assert early == pytest.approx(5.1 + STEP_S)
    assert cold == late > 7.0


def test_a_request_waited_for_gets_the_slot_that_was_filled_for_a_later_one() -> None:
    slow = SLOW_STORE | {"nvme": {"capacity_gb": 0}, "warm": {"capacity_gb": 1.0}}
    engine = {"memory": {"mode": "slots", "max_loras": 1, "max_lora_rank": 16}}
    asks = [Ask(0.0, 0), Ask(5.0, 1), Ask(5.1, 2), Ask(9.0, 1), Ask(9.1, 0), Ask(9.2, 2)]
    of = constant({}, adapters=slow, engine=engine | {"scheduler": {"order": "strict_fcfs"}})
    requests = run(of, asks).requests
    assert all(request.status == COMPLETED for request in requests)
    assert first_tokens_s(requests) == sorted(first_tokens_s(requests))


def test_priority_goes_by_the_weight_of_the_tier_then_by_arrival() -> None:
    asks = [Ask(0.0, -1, 10, 5, tenant=0), *(Ask(0.01, -1, tenant=t) for t in (0, 1, 2, 0, 2))]
    of = constant({}, engine={"max_num_seqs": 1, "scheduler": {"order": "priority"}})
    requests = run(of, asks).requests[1:]
    order = sorted(range(5), key=lambda i: requests[i].first_token_s)
    assert order == [2, 4, 0, 1, 3]


def prefix_asks(later: int) -> list[Ask]:
    """One computes a prefix; behind a long answer, one without a match waits and then `later` come
    that match."""
    known = tuple(range(4))
    first = [Ask(0.0, -1, 64, 2, 0, known), Ask(1.0, -1, 16, 10, 0)]
    return [*first, Ask(1.01, -1, 64, 2, 0, (90, 91, 92, 93))] + [
        Ask(1.02 + 0.05 * k, -1, 65, 2, 0, known) for k in range(later)
    ]


def test_prefix_first_takes_the_longest_cached_prefix() -> None:
    engine = {"max_num_seqs": 1, "scheduler": {"order": "prefix_first", "age_s": 60.0}}
    requests = run(constant({}, engine=engine), prefix_asks(3)).requests
    strange, *matching = requests[2:]
    assert all(request.cached_tokens for request in matching)
    assert strange.first_token_s > max(first_tokens_s(matching))


def test_prefix_first_starves_nobody() -> None:
    engine = {"max_num_seqs": 1, "scheduler": {"order": "prefix_first", "age_s": 2.0}}
    strange, *matching = run(constant({}, engine=engine), prefix_asks(60)).requests[2:]
    assert strange.first_token_s < 1.01 + 2.0 + 4 * STEP_S
    assert sum(request.first_token_s > strange.first_token_s for request in matching) > 40


# --- grouping --------------------------------------------------------------------------------


GROUPING = {"grouping": {"adapter_wait_s": 0.5, "min_requests": 2}}


def test_a_group_begins_when_it_is_large_enough_or_has_waited() -> None:
    # Loads are over by then: what is asked first brings the adapters up.
    warm = [Ask(0.0, 0), Ask(0.0, 1)]
    asks = [*warm, Ask(5.0, 0), Ask(5.2, 0), Ask(5.2, 1), Ask(8.0, -1)]
    requests = run(constant(GROUPING), asks).requests[2:]
    begins_s = [first_token_s - STEP_S for first_token_s in first_tokens_s(requests)]
    # Two of adapter 0 begin at once; the one of adapter 1 waits its time; the base model is asked.
    assert begins_s[:2] == pytest.approx([5.2, 5.2])
    assert begins_s[2] == pytest.approx(5.7)
    assert begins_s[3] == pytest.approx(8.0)


def test_a_request_joins_its_adapter_in_the_batch_at_once() -> None:
    requests = run(constant(GROUPING), [Ask(0.0, 0, 10, 30), Ask(2.05, 0)]).requests
    assert requests[1].first_token_s == pytest.approx(2.05 + STEP_S, abs=STEP_S)


# --- trust -----------------------------------------------------------------------------------


def trusting(by: str, max_wait_s: float = 1.0) -> Scenario:
    return constant({"trust": {"by": by, "max_wait_s": max_wait_s}})


def test_a_class_waits_until_the_batch_of_another_has_run_empty() -> None:
    asks = [Ask(0.0, -1, 10, 20, tenant=0), Ask(0.5, -1, 10, 1, tenant=1)]
    for by in ("tenant", "class"):
        first, second = run(trusting(by), asks).requests
        assert second.first_token_s == pytest.approx(first.finish_s + STEP_S)
    first, second = run(trusting("tier"), asks).requests  # both are of the same
    assert second.first_token_s < first.finish_s


def test_a_turn_admits_nobody_more_after_another_class_has_waited_long_enough() -> None:
    stream = [Ask(0.3 * k, -1, 10, 8, tenant=0) for k in range(40)]
    asks = sorted([*stream, Ask(1.0, -1, 10, 1, tenant=1)], key=lambda ask: ask.arrival_s)
    finished = run(trusting("class"), asks)
    (other,) = [request for request in finished.requests if request.tenant == 1]
    # One second of waiting, and the answers that had begun by then.
    assert 2.0 < other.first_token_s < 2.0 + 11 * STEP_S
    assert finished.schedulers[0].rules.trust.turns == 3


# --- merged ----------------------------------------------------------------------------------


def merged(**options: Any) -> dict[str, Any]:
    return {"merged": {"window_s": 1.0, "switch_s": 0.3, "max_wait_s": 2.0} | options}


def test_a_dominant_adapter_is_merged_and_its_steps_lose_the_lora_part() -> None:
    finished = run(scenario(merged()), [Ask(0.1 * k, 0, 10, 20) for k in range(30)])
    merging = merging_of(finished)
    assert merging.switches in (1, 2)
    assert merging.merged_s(finished.simulation.env.now) > 2.0
    plain = run(scenario({}), [Ask(0.1 * k, 0, 10, 20) for k in range(30)])
    ends_s = [max(r.finish_s for r in of.requests) for of in (finished, plain)]
    assert ends_s[0] < ends_s[1] - 0.5


def test_the_base_model_and_other_adapters_wait_while_one_is_merged_but_not_for_ever() -> None:
    stream = [Ask(0.1 * k, 0, 10, 10) for k in range(100)]
    others = [Ask(4.0, -1, 10, 1, tenant=0), Ask(4.0, 1, 10, 1)]
    asks = sorted([*stream, *others], key=lambda ask: ask.arrival_s)
    finished = run(scenario(merged()), asks)
    waited = [request for request in finished.requests if request.adapter != 0]
    for request in waited:
        assert 5.5 < request.first_token_s < 4.0 + 2.0 + 4 * (STEP_S + 0.1) + 0.3
    assert merging_of(finished).switches >= 3  # and merged again after them


def test_a_switch_stalls_the_next_step_by_its_time() -> None:
    ends_s = []
    for switch_s in (0.0, 0.3):
        finished = run(scenario(merged(switch_s=switch_s)), [Ask(0.0, 0, 10, 60)])
        assert merging_of(finished).switches == 1
        ends_s.append(finished.requests[0].finish_s)
    assert ends_s[1] == pytest.approx(ends_s[0] + 0.3)


def test_mixed_traffic_is_never_merged() -> None:
    asks = [Ask(0.05 * k, k % 2, 10, 10) for k in range(100)]
    finished = run(scenario(merged()), asks)
    assert merging_of(finished).switches == 0
    plain = run(scenario({}), asks)
    assert first_tokens_s(finished.requests) == first_tokens_s(plain.requests)


# --- what does not fit together ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"engine.scheduler.order": "strict_fcfs", "gateway.fairness.policy": "wfq"},
            "engine.scheduler.order: has no meaning beside gateway.fairness.policy wfq",
        ),
        (
            {"engine.scheduler.order": "strict_fcfs", "engine.scheduler.pass_over_s": 1.0},
            "engine.scheduler.pass_over_s: has no meaning: strict_fcfs passes nobody over",
        ),
        (
            {"engine.scheduler.order": "prefix_first", "engine.prefix_cache.enabled": False},
            "engine.scheduler.order: prefix_first needs engine.prefix_cache.enabled",
        ),
        (
            {"engine.scheduler.order": "prefix_first", "engine.scheduler.pass_over_s": 1.0},
            "engine.scheduler.pass_over_s: must be at least age_s (5) with prefix_first, not 1",
        ),
        (
            {"engine.max_num_seqs": 2, "engine.scheduler.grouping": {"min_requests": 3}},
            "engine.scheduler.grouping.min_requests: must be at most engine.max_num_seqs (2)",
        ),
        (
            {"engine.scheduler.merged": {"share": 0.6}, "engine.scheduler.trust": {"by": "tier"}},
            "engine.scheduler.merged: and trust both say whom a batch is kept for",
        ),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        expand(small_scenario().with_overrides(changes))
    assert message in str(caught.value)
