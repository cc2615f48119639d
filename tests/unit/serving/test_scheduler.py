"""How a replica forms its batches, told in steps of 100 ms."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.serving.request import COMPLETED, Request
from tests.simulating import Ask, phases_s, run, small_scenario, traffic_of, with_pool


def scenario(adapters: dict[str, Any] | None = None, **engine: Any) -> Scenario:
    return small_scenario(
        timing={"profile": "tests.timings:ConstantStep"},
        engine={"max_model_len": 1024} | engine,
        adapters={"initial_tier": "warm"} | (adapters or {}),
    )


def served(of: Scenario, *asks: Ask) -> list[Request]:
    """The requests, all completed, with their phases adding up."""
    requests = run(of, asks).requests
    for request in requests:
        assert request.status == COMPLETED
        assert phases_s(request) == pytest.approx(request.finish_s - request.arrival_s, abs=1e-9)
    return requests


def blocks_left(of: Scenario, blocks: int) -> Scenario:
    """The scenario without adapters, on a GPU with memory for so many KV blocks."""
    of = of.with_overrides({"tenants.0.adapters": 0})
    return with_pool(of, blocks * plan_memory(expand(of), 0).block_pages)


# --- steps ---------------------------------------------------------------------------------


def test_a_prompt_takes_a_step_and_every_further_token_one_more() -> None:
    (request,) = served(scenario(), Ask(1.0, prompt_tokens=50, output_tokens=11))
    assert (request.queue_s, request.adapter_wait_s, request.preempted_s) == (0.0, 0.0, 0.0)
    assert request.first_token_s == pytest.approx(1.1)
    assert (request.prefill_s, request.decode_s) == pytest.approx((0.1, 1.0))


def test_requests_of_the_same_instant_share_their_first_step() -> None:
    one, other = served(scenario(), Ask(1.0), Ask(1.0))
    assert one.first_token_s == other.first_token_s == pytest.approx(1.1)


def test_who_comes_during_a_step_waits_for_its_end() -> None:
    first, second = served(scenario(), Ask(0.0, output_tokens=50), Ask(1.23))
    assert second.queue_s == pytest.approx(0.07)
    assert second.first_token_s == pytest.approx(1.4)
    assert first.finish_s == pytest.approx(5.0)


def test_no_more_sequences_than_max_num_seqs_and_first_come_first_served() -> None:
    asks = [Ask(0.01 * index, output_tokens=10) for index in range(5)]
    finish = [request.finish_s for request in served(scenario(max_num_seqs=2), *asks)]
    assert finish == pytest.approx([1.0, 1.1, 2.0, 2.1, 3.0])


def test_a_long_prompt_is_computed_in_chunks_beside_the_decodes() -> None:
    decoding, long = served(
        scenario(max_num_seqs=8, max_num_batched_tokens=64),
        Ask(0.0, output_tokens=50),
        Ask(0.95, prompt_tokens=200),
    )
    assert long.prefill_s == pytest.approx(0.4)  # 63 tokens a step beside one decode
    assert decoding.finish_s == pytest.approx(5.0)


def test_without_chunks_a_whole_prompt_waits_for_a_step_of_its_own() -> None:
    unchunked = scenario(
        max_num_seqs=8, max_num_batched_tokens=64, scheduler={"chunked_prefill": False}
    )
    short, long, last = served(unchunked, Ask(0.0, prompt_tokens=30), Ask(0.0, -1, 200), Ask(0.0))
    assert short.first_token_s == pytest.approx(0.1)
    assert long.first_token_s == pytest.approx(0.2)
    assert last.first_token_s == pytest.approx(0.3)  # behind the long one: first come


def test_on_end_discard_cuts_what_is_not_done() -> None:
    cut = scenario().with_overrides({"workload.on_end": "discard"})
    asks = [Ask(0.0, output_tokens=5), Ask(0.0, output_tokens=50), Ask(0.95)]
    finished = run(cut, traffic_of(expand(cut), asks, duration_s=1.02))
    assert [request.finish_s > 0 for request in finished.requests] == [True, False, False]
    assert finished.simulation.env.now == pytest.approx(1.02)


# --- memory --------------------------------------------------------------------------------


def test_the_last_admitted_is_preempted_and_its_recomputation_is_booked() -> None:
    """Ten blocks for two requests that grow to eight. When both hold five and want a sixth, at
    6.5 s, the second one goes; it comes back when the first is done, recomputes its 81 tokens in
    a step and goes on where it stopped."""
    tight = blocks_left(scenario(max_model_len=128), 10)
    finished = run(tight, [Ask(0.0, -1, 16, 100), Ask(0.0, -1, 16, 100)])
    first, second = finished.requests
    assert first.finish_s == pytest.approx(10.0)
    assert first.preemptions == 0
    assert second.preemptions == 1
    assert second.preempted_s == pytest.approx(3.5 + 0.1)
    assert second.decode_s == pytest.approx(6.4 + 3.4)
    assert second.finish_s == pytest.approx(13.5)
    assert phases_s(second) == pytest.approx(13.5)
    assert finished.collector.steps[0].gaps == [(0, pytest.approx(3.6))]


def test_before_its_first_token_a_preempted_request_books_only_the_time_outside() -> None:
    """A prompt of five blocks is admitted at 3.1 s beside three; at 3.5 s the other has taken a
    fourth, and there is none for the prompt's fifth."""
    tight = blocks_left(scenario(max_model_len=128, max_num_batched_tokens=16, max_num_seqs=4), 8)
    grown, chunked = served(tight, Ask(0.0, -1, 16, 100), Ask(3.05, -1, 80, 2))
    assert (grown.preemptions, chunked.preemptions) == (0, 1)
    assert chunked.queue_s == pytest.approx(0.05)
    assert chunked.preempted_s == pytest.approx(10.0 - 3.5)
    assert chunked.prefill_s == pytest.approx(0.4 + 0.5)  # in vain, and again
    assert chunked.first_token_s == pytest.approx(10.5)


def test_a_prompt_comes_in_only_if_all_of_it_fits_beside_those_being_computed() -> None:
    tight = blocks_left(scenario(max_model_len=128, max_num_batched_tokens=32, max_num_seqs=4), 10)
    first, second = served(tight, Ask(0.0, -1, 96, 1), Ask(0.0, -1, 96, 1))
    assert (first.preemptions, second.preemptions) == (0, 0)
    assert first.finish_s == pytest.approx(0.3)
    assert second.queue_s == pytest.approx(0.3)


def test_a_request_waits_while_memory_is_short_even_if_a_later_one_would_fit() -> None:
    tight = blocks_left(scenario(max_model_len=128), 8)
    first, large, small = served(
        tight, Ask(0.0, -1, 60, 30), Ask(0.1, -1, 100, 1), Ask(0.2, -1, 10, 1)
    )
    assert first.finish_s == pytest.approx(3.0)
    assert large.queue_s == pytest.approx(2.9)
    assert small.queue_s == pytest.approx(2.8)


# --- cached prefixes -------------------------------------------------------------------------


def test_the_next_turn_finds_prompt_and_answer_of_the_one_before() -> None:
    history = tuple(range(10))
    first, second = served(
        scenario(),
        Ask(0.0, 0, prompt_tokens=64, output_tokens=33, hashes=history[:6]),
        Ask(9.0, 0, prompt_tokens=160, hashes=history),
    )
    assert first.cached_tokens == 0
    assert second.cached_tokens == 96  # the last token of an answer has no KV yet


def test_at_least_one_token_of_a_prompt_is_computed() -> None:
    asks = [Ask(float(at), 0, prompt_tokens=64, hashes=(1, 2, 3, 4)) for at in range(2)]
    assert served(scenario(), *asks)[1].cached_tokens == 48


def test_two_prompts_computed_at_once_do_not_find_each_other() -> None:
    asks = [Ask(0.0, 0, prompt_tokens=64, hashes=(1, 2, 3, 4))] * 2
    assert [request.cached_tokens for request in served(scenario(), *asks)] == [0, 0]


@pytest.mark.parametrize(
    ("isolation", "same_tenant", "other_tenant"),
    [("adapter", 0, 0), ("tenant", 48, 0), ("shared", 48, 48)],
)
def test_isolation_says_who_shares_a_prefix(
    isolation: str, same_tenant: int, other_tenant: int
) -> None:
    """Tenant 0 has adapters 0 and 1, tenant 1 has 2 and 3."""
    of = scenario(prefix_cache={"isolation": isolation}).with_overrides({"tenants.0.adapters": 2})
    asks = [Ask(float(a), a, prompt_tokens=64, hashes=(1, 2, 3, 4)) for a in (0, 1, 2)]
    found = [request.cached_tokens for request in served(of, *asks)]
    assert found == [0, same_tenant, other_tenant]


def test_base_model_requests_of_two_tenants_share_no_prefix() -> None:
    asks = [
        Ask(float(at), -1, prompt_tokens=64, hashes=(1, 2, 3, 4), tenant=tenant)
        for at, tenant in enumerate((0, 1, 0))
    ]
    assert [request.cached_tokens for request in served(scenario(), *asks)] == [0, 0, 48]


def test_cached_prefixes_give_way_to_a_prompt() -> None:
    tight = blocks_left(scenario(max_model_len=128), 8)
    prompts = [
        Ask(float(at), -1, 112, hashes=tuple(range(at * 10, at * 10 + 7))) for at in range(3)
    ]
    finished = run(tight, prompts)
    assert [request.queue_s for request in finished.requests] == [0.0, 0.0, 0.0]
    finished.schedulers[0].memory.check()
