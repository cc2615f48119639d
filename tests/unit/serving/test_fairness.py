"""Queue disciplines in small stories whose outcome can be told by hand."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from typing import Any

import pytest

from simlora.serving.fairness import QueueDiscipline
from simlora.serving.fairness.lengths import PRIOR_TOKENS, SMOOTHING, OutputLengths
from simlora.serving.fairness.prepaid import PrepaidOutput
from simlora.serving.request import Request
from tests.property.fairness_server import flow_table, make


def ask(index: int, tenant: int = 0, prompt: int = 10, output: int = 10, **more: Any) -> Request:
    """A request that arrives at second `index`, of a tenant alone in its tier."""
    return Request(index, more.pop("at", float(index)), tenant, tenant, -1, prompt, output, **more)


def push(queue: QueueDiscipline, *requests: Request, now: float = 0.0) -> None:
    for request in requests:
        queue.push(request, now)


def drain(queue: QueueDiscipline, now: float = 0.0) -> list[int]:
    return [queue.pop(now).index for _ in range(len(queue))]


# --- VTC ---------------------------------------------------------------------------------------


def test_vtc_charges_the_prompt_at_admission_and_the_output_as_it_comes() -> None:
    queue = make("vtc", flow_table([1.0, 1.0]))
    push(queue, *(ask(i, i % 2, prompt=100) for i in range(8)))
    assert [queue.pop(0.0).tenant for _ in range(2)] == [0, 1]
    queue.on_output(0, 100)  # 200 weighted tokens: two prompts
    assert [queue.pop(0.0).tenant for _ in range(4)] == [1, 1, 0, 1]


def test_vtc_divides_what_it_charges_by_the_weight() -> None:
    queue = make("vtc", flow_table([2.0, 1.0]))
    push(queue, *(ask(i, i % 2, prompt=100) for i in range(16)))
    assert [queue.pop(0.0).tenant for _ in range(8)] == [0, 1, 0, 1, 0, 0, 1, 0]


def test_vtc_lifts_who_comes_back_to_the_least_counter_of_the_queued() -> None:
    queue = make("vtc", flow_table([1.0, 1.0, 1.0]))
    push(queue, ask(0, 0), ask(1, 1), ask(2, 1))
    queue.on_output(0, 500)
    queue.on_output(1, 200)
    newcomer = ask(3, 2)
    assert queue.rank(newcomer, 0.0)[1] == 400.0
    push(queue, newcomer)
    assert queue.rank(newcomer, 0.0)[1] == 400.0


def test_vtc_lifts_who_comes_into_an_empty_queue_to_the_counter_of_who_left_it_last() -> None:
    queue = make("vtc", flow_table([1.0, 1.0, 1.0]))
    push(queue, ask(0, 0, prompt=70), ask(1, 1, prompt=30))
    assert drain(queue) == [0, 1]
    queue.on_output(1, 50)  # what is running goes on to be charged
    assert queue.rank(ask(2, 2), 0.0)[1] == 130.0
    assert queue.rank(ask(2, 1), 0.0)[1] == 130.0
    queue.on_output(1, 50)
    push(queue, ask(3, 2), ask(4, 0))
    assert [queue.rank(request, 0.0)[1] for request in queue] == [230.0, 230.0]


def test_vtc_does_not_lift_who_has_had_more_than_the_others() -> None:
    queue = make("vtc", flow_table([1.0, 1.0]))
    push(queue, ask(0, 0), ask(1, 1), ask(2, 1))
    assert queue.pop(0.0).index == 0
    queue.on_output(0, 500)
    push(queue, ask(3, 0))
    assert queue.rank(ask(4, 0), 0.0)[1] == 1010.0
    assert drain(queue) == [1, 2, 3]


def test_a_preempted_request_goes_before_an_earlier_one_that_waited_for_its_adapter() -> None:
    queue = make("vtc", flow_table([1.0]))
    preempted = ask(1)
    push(queue, preempted)
    queue.pop(0.0)
    preempted.preemptions = 1
    push(queue, ask(0), preempted)
    assert drain(queue) == [1, 0]


# --- WFQ ---------------------------------------------------------------------------------------


def test_wfq_charges_the_expected_output_at_admission_so_one_flow_cannot_fill_the_batch() -> None:
    """Nothing has been generated yet, and tenant 0 asks for little and gets much."""
    picks = {}
    for policy in ("vtc", "wfq"):
        queue = make(policy, flow_table([1.0, 1.0]))
        push(queue, *(ask(i, 0, prompt=1) for i in range(20)), ask(20, 1, prompt=200))
        push(queue, *(ask(i, 1, prompt=200) for i in range(21, 40)))
        picks[policy] = [queue.pop(0.0).tenant for _ in range(12)].count(0)
    assert picks == {"vtc": 11, "wfq": 7}


def test_wfq_starts_who_comes_back_at_the_start_tag_of_the_request_admitted_last() -> None:
    queue = make("wfq", flow_table([1.0, 1.0]), output_weight=0.0)
    push(queue, *(ask(i, 0, prompt=100) for i in range(5)))
    for _ in range(3):
        queue.pop(0.0)  # start tags 0, 100, 200
    newcomer = ask(5, 1)
    push(queue, newcomer)
    assert queue.rank(newcomer, 0.0)[1] == 200.0
    assert queue.pop(0.0) is newcomer


def test_prepaid_output_comes_to_what_was_generated_when_all_is_over() -> None:
    account = PrepaidOutput()
    charged = account.admit(0, 1, 100.0) + account.admit(0, 2, 100.0)
    assert charged == 200.0
    assert account.admit(0, 1, 100.0) == 0.0  # again, after a preemption
    assert account.generate(0, 150) == 0.0
    assert account.generate(0, 60) == 10.0
    assert account.finish(0, 1) == 0.0
    assert account.generate(0, 40) == 40.0
    assert account.finish(0, 2) == 0.0
    assert account.finish(0, 3) == 0.0  # never admitted
    charged = account.admit(0, 4, 100.0)
    account.generate(0, 30)
    assert account.finish(0, 4) == 70.0


def test_prepaid_output_of_requests_that_go_on_is_not_refunded() -> None:
    account = PrepaidOutput()
    account.admit(0, 1, 100.0)
    account.admit(0, 2, 100.0)
    account.generate(0, 20)
    assert account.finish(0, 1) == 80.0
    assert account.generate(0, 100) == 0.0


# --- expected lengths and SJF -------------------------------------------------------------------


def finished(tenant: int, output: int) -> Request:
    request = ask(0, tenant, output=output)
    request.emitted_tokens = output
    return request


def test_expected_lengths_are_averages_of_the_tenants_finished_requests() -> None:
    lengths = OutputLengths()
    assert lengths.expected(ask(0, 0, output=7)) == PRIOR_TOKENS
    lengths.learn(finished(0, 1000))
    after = PRIOR_TOKENS + SMOOTHING * (1000 - PRIOR_TOKENS)
    assert lengths.expected(ask(0, 0, output=7)) == after
    assert lengths.expected(ask(0, 1, output=7)) == after  # unknown: as all the others
    for _ in range(200):
        lengths.learn(finished(1, 20))
    assert lengths.expected(ask(0, 1)) == pytest.approx(20)
    assert lengths.expected(ask(0, 0)) == after


def test_a_request_that_was_cut_short_teaches_no_length() -> None:
    lengths = OutputLengths()
    short = ask(0, 0, output=500)
    short.emitted_tokens = 3
    lengths.learn(short)
    assert lengths.expected(ask(1, 0)) == PRIOR_TOKENS


def test_sjf_goes_by_what_is_expected_and_only_the_oracle_by_the_true_length() -> None:
    requests = [ask(0, 0, output=400), ask(1, 1, output=4)]
    blind, oracle = make("sjf", flow_table([1, 1])), make("sjf", flow_table([1, 1]), oracle=True)
    push(blind, *requests)
    push(oracle, *requests)
    assert drain(blind) == [0, 1]
    assert drain(oracle) == [1, 0]
    for _ in range(50):
        blind.on_finish(finished(0, 400))
        blind.on_finish(finished(1, 4))
    push(blind, *requests)
    assert drain(blind) == [1, 0]


def test_sjf_counts_the_prompt() -> None:
    queue = make("sjf", flow_table([1.0]))
    push(queue, ask(0, prompt=900), ask(1, prompt=30))
    assert drain(queue) == [1, 0]


@pytest.mark.parametrize(("late_s", "picks"), [(19.9, [1, 0]), (20.1, [0, 1])])
def test_sjf_halves_a_jobs_cost_for_every_age_s_of_waiting(late_s: float, picks: list[int]) -> None:
    """A job four times as long is overtaken only by what arrives within two times age_s."""
    queue = make("sjf", flow_table([1.0]), age_s=10.0, oracle=True)
    push(queue, ask(0, at=0.0, prompt=200, output=100))
    push(queue, ask(1, at=late_s, prompt=50, output=25), now=late_s)
    assert log2(400 / 100) * 10.0 == 20.0
    assert drain(queue, late_s) == picks


def test_sjf_with_ageing_serves_a_long_job_while_short_ones_keep_coming() -> None:
    waits = {}
    for age_s in (None, 5.0):
        queue = make("sjf", flow_table([1.0]), age_s=age_s, oracle=True)
        push(queue, ask(0, prompt=1000, output=500))
        for second in range(1, 200):
            push(queue, ask(second, prompt=10, output=5), now=float(second))
            if queue.pop(float(second)).index == 0:
                waits[age_s] = second
                break
    assert waits == {5.0: 34}  # 5 s x log2(2000 / 20) = 33.2 s; without ageing never


def test_sjf_keeps_the_rank_of_who_waits_and_puts_what_was_preempted_first() -> None:
    queue = make("sjf", flow_table([1.0, 1.0]))
    waiting, preempted = ask(0, 0), ask(1, 1, prompt=900)
    push(queue, waiting)
    before = queue.rank(waiting, 0.0)
    queue.on_finish(finished(0, 4000))
    assert queue.rank(waiting, 0.0) == before
    assert queue.rank(ask(2, 0), 0.0) > before
    preempted.preemptions = 1
    push(queue, preempted)
    assert drain(queue) == [1, 0]


# --- priority ----------------------------------------------------------------------------------


def test_priority_goes_by_tier_then_by_priority_then_by_arrival() -> None:
    queue = make("priority", flow_table([1.0, 10.0, 3.0]))
    push(queue, ask(0, 0, priority=9), ask(1, 2), ask(2, 1), ask(3, 1, priority=1), ask(4, 2))
    assert drain(queue) == [3, 2, 1, 4, 0]


def test_tiers_of_equal_weight_are_one_class() -> None:
    queue = make("priority", flow_table([2.0, 2.0]))
    push(queue, ask(0, 1), ask(1, 0), ask(2, 1))
    assert drain(queue) == [0, 1, 2]


def test_priority_without_ageing_lets_a_low_class_wait_forever() -> None:
    queue = make("priority", flow_table([10.0, 1.0]))
    push(queue, ask(0, 1))
    for second in range(1, 300):
        push(queue, ask(second, 0), now=float(second))
        assert queue.pop(float(second)).index == second


def test_priority_with_ageing_lifts_by_a_class_every_age_s_and_at_last_above_all() -> None:
    """Three classes of 10 s: at 10 s into the middle, at 20 s the highest, at 30 s above it."""
    queue = make("priority", flow_table([10.0, 3.0, 1.0]), age_s=10.0)
    old = ask(0, 2)
    push(queue, old)
    assert [queue.rank(old, now)[0] for now in (9.9, 10.0, 19.9, 20.0, 29.9, 30.0, 99.0)] == [
        *(2, 1, 1, 0, 0, -1, -1)
    ]
    served = []
    for second in range(1, 40):
        push(queue, ask(second, 0, priority=5), now=float(second))
        served.append(queue.pop(float(second)).index)
    assert served.index(0) + 1 == 30


# --- reserved shares ----------------------------------------------------------------------------


def test_a_reserved_share_is_kept_by_tiers_whose_tenants_have_little_weight() -> None:
    """Tier 0 has nine tenths, whatever its one tenant weighs beside the other tier's."""
    table = replace(flow_table([1.0, 100.0]), shares=(0.9, 0.1))
    queue = make("vtc", table)
    push(queue, *(ask(i, i % 2, prompt=10) for i in range(200)))
    picks = [queue.pop(0.0).tenant for _ in range(100)]
    assert picks.count(0) == 90


def test_equal_tiers_are_told_apart_by_their_first_flows_as_these_are_now() -> None:
    table = replace(flow_table([1.0, 1.0], tenants_each=2), shares=(0.5, 0.5))
    queue = make("vtc", table)
    push(queue, ask(0, 0), ask(1, 2), ask(2, 1), ask(3, 3))
    queue.on_output(0, 50)
    queue.on_output(3, 50)
    assert queue.pop(0.0).index == 1


# --- DRR ---------------------------------------------------------------------------------------


def test_drr_admits_what_the_quantum_covers_and_carries_the_rest_over() -> None:
    queue = make("drr", flow_table([1.0, 1.0]), quantum_tokens=100)
    push(queue, *(ask(i, i % 2, prompt=60) for i in range(12)))
    # 100: one of 60; 140: two; 120: two; 100: one
    assert [queue.pop(0.0).tenant for _ in range(10)] == [0, 1, 0, 0, 1, 1, 0, 0, 1, 1]


def test_drr_quanta_are_in_proportion_to_the_weights() -> None:
    queue = make("drr", flow_table([0.5, 1.5]), quantum_tokens=10)
    push(queue, *(ask(i, i % 2) for i in range(16)))
    assert [queue.pop(0.0).tenant for _ in range(8)] == [0, 1, 1, 1, 0, 1, 1, 1]


def test_drr_gives_a_prompt_many_quanta_long_its_turn_after_as_many_rounds() -> None:
    queue = make("drr", flow_table([1.0, 1.0]), quantum_tokens=10)
    push(queue, ask(0, 0, prompt=35), *(ask(i, 1) for i in range(1, 9)))
    assert drain(queue) == [1, 2, 3, 0, 4, 5, 6, 7, 8]


def test_drr_leaves_no_deficit_to_a_flow_without_work_but_its_debt() -> None:
    queue = make("drr", flow_table([1.0, 1.0]), quantum_tokens=100)
    push(queue, ask(0, 0, prompt=1))
    queue.pop(0.0)  # 99 are left, and lost
    push(queue, ask(1, 0, prompt=150), ask(2, 1, prompt=150))
    assert queue.rank(ask(3, 0, prompt=150), 0.0)[0] == queue.rank(ask(3, 1), 0.0)[0] == 3
    queue.remove(next(iter(queue)))
    queue.on_output(0, 150)  # 300 weighted tokens
    assert queue.rank(ask(4, 0, prompt=100), 0.0)[0] == 1 + 4


def test_drr_pays_the_debt_of_a_flow_without_work_as_the_rounds_go() -> None:
    queue = make("drr", flow_table([1.0, 1.0]), quantum_tokens=100)
    push(queue, ask(0, 0), *(ask(i, 1, prompt=100) for i in range(1, 12)))
    queue.pop(0.0)
    queue.on_output(0, 150)  # 300 weighted tokens in round 1
    back = ask(12, 0, prompt=100)
    rounds = []
    for _ in range(8):
        queue.pop(0.0)  # rounds 1 to 8
        rounds.append(queue.rank(back, 0.0)[0])
    assert rounds == [5, 5, 5, 5, 6, 7, 8, 9]
    push(queue, back)
    assert queue.rank(back, 0.0)[0] == 9
