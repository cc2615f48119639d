"""What bounds the adapters in GPU memory: bytes, the load itself, and who came first."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import AdaptiveSize, Scenario
from simlora.serving.hot_size import HotSize
from simlora.serving.memory import plan_memory
from simlora.serving.request import COMPLETED
from tests.simulating import Ask, Finished, run, with_pool
from tests.unit.serving.adapter_stories import (
    COPY_S,
    STEP_S,
    hot_since_s,
    scenario,
    slots,
    sources,
    starts_s,
    stats,
)


def in_gb(adapters: float) -> float:
    """GB of so many adapters in the pool."""
    plan = plan_memory(expand(scenario()), 0)
    return (
        adapters
        * plan.adapter_pages(expand(scenario()).adapters[0].parameters)
        * (plan.page_bytes / 1e9)
    )


def most_hot(finished: Finished) -> int:
    """The most adapters that any sample saw in GPU memory."""
    return int(max(gauges[8] for gauges in finished.collector.gauges))


# --- by bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("adapters", [1, 2, 3])
def test_hot_adapters_keep_within_their_gigabytes(adapters: int) -> None:
    of = scenario(hot={"capacity_gb": in_gb(adapters + 0.5)})
    finished = run(of, [Ask(1.3 * i, i % 4, 10, 20) for i in range(24)])
    plan = finished.simulation.plans[0]
    held = [gauges[6] * plan.page_bytes / 1e9 for gauges in finished.collector.gauges]
    assert max(held) <= in_gb(adapters + 0.5)
    assert most_hot(finished) == adapters
    assert stats(finished).evictions >= 24 // 4
    assert all(request.status == COMPLETED for request in finished.requests)


def test_where_the_gigabytes_are_in_use_an_adapter_waits_for_them() -> None:
    of = scenario(hot={"capacity_gb": in_gb(2)})
    finished = run(of, [Ask(0.0, 0, 10, 50), Ask(0.0, 1, 10, 30), Ask(1.0, 2)])
    _, second, third = finished.requests
    assert hot_since_s(finished, 2) == pytest.approx(second.finish_s + COPY_S)
    assert third.first_token_s > second.finish_s


def test_an_adapter_that_just_fits_into_the_gigabytes_does() -> None:
    finished = run(scenario(hot={"capacity_gb": in_gb(1)}), [Ask(5.0 * i, i % 2) for i in range(4)])
    assert sources(finished) == ["warm"] * 4
    assert most_hot(finished) == 1


def test_both_bounds_hold_where_both_are_given() -> None:
    asks = [Ask(5.0 * i, i % 4) for i in range(8)]
    for most, adapters in ((3, 2.5), (2, 3.5)):
        of = scenario(hot={"capacity_gb": in_gb(adapters), "max_adapters": most})
        assert most_hot(run(of, asks)) == 2


# --- by the load ---------------------------------------------------------------------------


def size(**bounds: Any) -> HotSize:
    return HotSize(AdaptiveSize.model_validate({"max_adapters": 3, "window_s": 10.0} | bounds))


def test_the_limit_is_the_number_of_adapters_asked_for_in_the_window() -> None:
    of = size()
    assert of.limit(0.0) == 1  # at least
    for adapter, now, limit in ((0, 0.0, 1), (1, 1.0, 2), (1, 2.0, 2), (2, 3.0, 3), (3, 4.0, 3)):
        of.asked(adapter, now)
        assert of.limit(now) == limit  # at most 3
    assert of.limit(10.9) == 3  # 1, 2, 3
    assert of.limit(11.5) == 3  # one of the two requests for 1 has left
    assert of.limit(12.0) == 2  # 2 and 3: the second request for 1 has left too
    assert of.limit(13.0) == 1
    assert of.limit(1000.0) == 1


def test_the_limit_keeps_at_least_its_minimum() -> None:
    of = size(min_adapters=2)
    of.asked(0, 0.0)
    assert of.limit(0.0) == 2


def test_hot_adapters_become_fewer_when_fewer_are_asked_for() -> None:
    of = scenario(hot={"adaptive": {"max_adapters": 3, "window_s": 10.0}})
    asks = [Ask(0.0, 0), Ask(1.0, 1), Ask(2.0, 2), Ask(3.0, 0), Ask(30.0, 3), Ask(31.0, 3)]
    finished = run(of, asks)
    hot = {gauges[0]: gauges[8] for gauges in finished.collector.gauges}
    assert (hot[0.5], hot[1.5], hot[2.5], hot[29.0], hot[30.5]) == (1, 2, 3, 3, 1)
    assert stats(finished).evictions == 3
    assert sources(finished) == ["warm"] * 3 + ["hot", "warm", "hot"]


def test_an_adaptive_limit_never_evicts_what_is_in_use() -> None:
    of = scenario(hot={"adaptive": {"max_adapters": 3, "window_s": 2.0}})
    finished = run(of, [Ask(0.0, 0, 10, 100), Ask(1.0, 1, 10, 60), Ask(5.0, 2)])
    first, second, third = finished.requests
    assert (first.preemptions, second.preemptions) == (0, 0)
    # The limit is 1 since 3: the third waits until the two others are done.
    assert starts_s(third) == pytest.approx(first.finish_s + COPY_S)


def test_when_the_limit_rises_those_who_wait_come_in_at_once() -> None:
    """At 10 only adapter 1 is in the window, and 0 still in use; at 11 there are two."""
    of = scenario(hot={"adaptive": {"max_adapters": 4, "window_s": 5.0}})
    using, waiting, _ = run(of, [Ask(0.0, 0, 10, 300), Ask(10.0, 1), Ask(11.0, 2)]).requests
    assert starts_s(waiting) < 11.0 + COPY_S + 2 * STEP_S
    assert using.finish_s == pytest.approx(COPY_S + 300 * STEP_S)


# --- by who came first ---------------------------------------------------------------------


def one_slot(**changes: Any) -> Scenario:
    return scenario(slots(1) | changes, hot={"when_full": "preempt"})


# Adapter 0 is in use from 0.25 to 2.75; 1 is waited for from 0.5 on; a later request for 0 comes in
# before it, and would keep the slot until 6.
OVERTAKEN = [Ask(0.0, 0, 10, 25), Ask(0.5, 1), Ask(1.0, 0, 10, 50)]


def test_where_nobody_is_preempted_an_adapter_waits_for_those_who_overtook_it() -> None:
    finished = run(scenario(slots(1)), OVERTAKEN)
    _, older, younger = finished.requests
    assert starts_s(older) == pytest.approx(younger.finish_s + COPY_S)


def test_who_overtook_the_request_is_preempted_for_its_adapter() -> None:
    finished = run(one_slot(), OVERTAKEN)
    first, older, younger = finished.requests
    assert [request.preemptions for request in finished.requests] == [0, 0, 1]
    assert starts_s(older) == pytest.approx(first.finish_s + COPY_S)
    assert older.finish_s == pytest.approx(first.finish_s + COPY_S + STEP_S)
    # The younger one comes back when its own adapter has been loaded again.
    assert hot_since_s(finished, 0) == pytest.approx(older.finish_s + COPY_S)
    assert younger.status == COMPLETED
    # It had its first token at 1.45 and one each step until it was preempted; then its prompt is
    # computed again, which gives the next.
    emitted = round((first.finish_s - younger.first_token_s) / STEP_S) + 1
    left_s = (50 - emitted) * STEP_S
    assert younger.finish_s == pytest.approx(hot_since_s(finished, 0) + left_s)


def test_an_older_request_is_never_preempted_for_an_adapter() -> None:
    finished = run(one_slot(), [Ask(0.0, 0, 10, 40), Ask(0.5, 1), Ask(0.7, 2)])
    assert [request.preemptions for request in finished.requests] == [0, 0, 0]
    first, second, third = finished.requests
    assert starts_s(second) == pytest.approx(first.finish_s + COPY_S)
    assert starts_s(third) == pytest.approx(second.finish_s + COPY_S)


def test_nobody_is_preempted_while_that_cannot_bring_the_slot() -> None:
    """While an older request uses the adapter too, and for base-model requests."""
    asks = [Ask(0.0, 0, 10, 100), Ask(0.5, 1), Ask(1.0, 0, 10, 50), Ask(1.0, -1, 10, 90)]
    asks += [Ask(2.0, 0), Ask(3.0, 0)]  # come and go, so that there is something to try again for
    finished = run(one_slot(), asks)
    assert [request.preemptions for request in finished.requests] == [0] * 6


def test_who_overtook_it_is_preempted_as_soon_as_its_prompt_is_done() -> None:
    """Its prompt of 3,000 tokens takes 12 steps, from 2.05 to 3.25; the slot could have been had
    at 2.75."""
    asks = [Ask(0.0, 0, 10, 25), Ask(0.5, 1), Ask(2.0, 0, 3000, 50)]
    finished = run(one_slot(max_num_batched_tokens=256), asks)
    _, older, younger = finished.requests
    assert younger.preemptions == 1
    assert starts_s(older) == pytest.approx(younger.first_token_s + COPY_S)
    assert younger.status == COMPLETED


def test_all_who_use_the_adapter_must_leave_and_no_others_do() -> None:
    """Two slots; adapter 2 waits for one of them while 0 and 1 are in use by younger requests."""
    of = scenario(slots(2), hot={"when_full": "preempt"})
    asks = [Ask(0.0, 0, 10, 20), Ask(0.0, 1, 10, 20), Ask(0.5, 2)]
    asks += [Ask(1.0, 0, 10, 40), Ask(1.1, 1, 10, 40), Ask(1.2, 1, 10, 40)]
    finished = run(of, asks)
    assert [request.preemptions for request in finished.requests] == [0, 0, 0, 0, 1, 1]
    # The load begins when the two oldest are done.
    assert hot_since_s(finished, 2) == pytest.approx(finished.requests[1].finish_s + COPY_S)
    assert all(request.status == COMPLETED for request in finished.requests)


def test_in_unified_memory_the_pages_of_younger_requests_are_taken() -> None:
    """52 blocks, of which an adapter takes 19, and the four prompts 14, 20, 1 and 14."""
    of = scenario({"max_model_len": 512}, hot={"when_full": "preempt"})
    plan = plan_memory(expand(of), 0)
    adapter_pages = plan.adapter_pages(expand(of).adapters[0].parameters)
    assert -(-adapter_pages // plan.block_pages) == 19
    tight = with_pool(of, adapter_pages + 33 * plan.block_pages)
    asks = [Ask(0.0, -1, 210, 25), Ask(0.0, -1, 310, 40), Ask(0.55, 0), Ask(1.0, -1, 220, 60)]
    finished = run(tight, asks)
    first, second, _, younger = finished.requests
    assert [request.preemptions for request in finished.requests] == [0, 0, 0, 1]
    assert hot_since_s(finished, 0) == pytest.approx(first.finish_s + COPY_S)
    assert younger.status == COMPLETED
    finished.schedulers[0].memory.check()
    waited = run(tight.with_overrides({"adapters.hot.when_full": "wait"}), asks)
    assert hot_since_s(waited, 0) == pytest.approx(second.finish_s + COPY_S)


def test_in_unified_memory_the_bound_on_adapters_is_had_by_preemption_too() -> None:
    of = scenario(hot={"when_full": "preempt", "max_adapters": 1})
    finished = run(of, OVERTAKEN)
    first, older, younger = finished.requests
    assert [first.preemptions, older.preemptions, younger.preemptions] == [0, 0, 1]
    assert starts_s(older) == pytest.approx(first.finish_s + COPY_S)
    finished.schedulers[0].memory.check()
