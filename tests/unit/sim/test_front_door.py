"""When a request is given up, wherever it is, and who is turned away."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.schema import Scenario
from tests.unit.serving.adapter_stories import COPY_S, READ_S, slots
from tests.unit.sim.failing import Ask, outcomes, story, tell

TIMED_OUT = "failed: timeout"
# Three of the four tenants of a story are nobody special.
TENANTS: list[dict[str, Any]] = [
    {"name": "tenant", "count": 3},
    {"name": "hasty", "tier": "gold"},
]
HASTY = 3


def hasty(timeout_s: float, *events: dict[str, Any], **more: Any) -> Scenario:
    """The fourth tenant gives up after a while."""
    timeouts = {"gateway__timeouts_s": {"gold": timeout_s}}
    return story(*events, tenants=TENANTS, tiers={"gold": {}}, **timeouts, **more)


# --- timeouts ------------------------------------------------------------------------------


def test_who_is_done_in_time_is_not_given_up() -> None:
    finished = tell(hasty(1.05), Ask(0.0, tenant=HASTY, output_tokens=10), Ask(5.0))
    assert outcomes(finished) == ["completed", "completed"]


def test_a_decoding_request_leaves_at_the_next_step_boundary() -> None:
    """Its tokens are kept count of, its memory is free."""
    finished = tell(hasty(0.55), Ask(0.0, tenant=HASTY, output_tokens=10), Ask(1.0))
    request = finished.requests[0]
    assert outcomes(finished) == [TIMED_OUT, "completed"]
    assert request.finish_s == pytest.approx(0.6)
    assert (request.emitted_tokens, request.prefill_s) == (6, pytest.approx(0.1))
    assert request.decode_s == pytest.approx(0.5)
    assert finished.schedulers[0].memory.pool.held[0] == 0


def test_one_that_completes_with_that_step_is_complete() -> None:
    finished = tell(hasty(0.95), Ask(0.0, tenant=HASTY, output_tokens=10))
    assert outcomes(finished) == ["completed"]


def test_the_others_of_its_batch_go_on() -> None:
    asks = Ask(0.0, output_tokens=10), Ask(0.0, tenant=HASTY, output_tokens=10)
    finished = tell(hasty(0.55), *asks)
    assert outcomes(finished) == ["completed", TIMED_OUT]
    assert finished.requests[0].finish_s == pytest.approx(1.0)


def test_a_prefilling_request_leaves_at_the_next_step_boundary() -> None:
    chunks = {"engine__max_num_batched_tokens": 10, "engine__max_num_seqs": 10}
    finished = tell(hasty(0.25, **chunks), Ask(0.0, prompt_tokens=90, tenant=HASTY))
    (request,) = finished.requests
    assert outcomes(finished) == [TIMED_OUT]
    assert request.finish_s == request.prefill_s == pytest.approx(0.3)
    assert request.first_token_s == -1


def test_a_request_in_the_queue_leaves_at_once_and_the_next_moves_up() -> None:
    asks = Ask(0.0, output_tokens=10), Ask(0.1, tenant=HASTY), Ask(0.2)
    finished = tell(hasty(0.45, engine__max_num_seqs=1), *asks)
    assert outcomes(finished) == ["completed", TIMED_OUT, "completed"]
    _, given_up, next_one = finished.requests
    assert given_up.finish_s == pytest.approx(0.55)
    assert given_up.queue_s == pytest.approx(0.45)
    assert next_one.finish_s == pytest.approx(1.1)


def test_a_request_that_waits_for_its_adapter_leaves_at_once_and_the_load_goes_on() -> None:
    scenario = hasty(READ_S / 2, adapters={"initial_tier": "nvme"})
    finished = tell(scenario, Ask(0.0, HASTY), Ask(5.0, HASTY))
    given_up, second = finished.requests
    assert outcomes(finished) == [
        TIMED_OUT,
        TIMED_OUT if COPY_S + 0.1 > READ_S / 2 else "completed",
    ]
    assert given_up.finish_s == pytest.approx(READ_S / 2)
    assert given_up.adapter_wait_s == pytest.approx(READ_S / 2)
    assert finished.schedulers[0].tiers.stats.found[2] == 1  # the second finds it in host memory
    assert second.replica == 0


def test_with_its_only_waiter_gone_an_adapter_takes_no_slot() -> None:
    """One slot, taken until 2 s; who waits for it gives up, and the next but one is served."""
    asks = Ask(0.0, 0, output_tokens=20), Ask(0.5, HASTY), Ask(0.6, 1)
    finished = tell(hasty(0.7, engine=slots(1)), *asks)
    assert outcomes(finished) == ["completed", TIMED_OUT, "completed"]
    assert finished.schedulers[0].tiers.stats.loads == 2
    finished.schedulers[0].memory.check()


def test_who_is_held_back_by_the_gateway_leaves_at_once() -> None:
    limit = {"gold": {"rps": 0.5, "over_limit": "delay"}}
    asks = Ask(0.0, tenant=HASTY), Ask(0.2, tenant=HASTY)
    finished = tell(hasty(1.0, gateway__rate_limits=limit), *asks)
    assert outcomes(finished) == ["completed", TIMED_OUT]
    assert finished.requests[1].finish_s == pytest.approx(1.2)
    assert finished.requests[1].queue_s == pytest.approx(1.0)
    assert finished.simulation.env.now < 1.3  # nobody waits for the two seconds to pass


def test_who_means_to_ask_again_later_leaves_at_once() -> None:
    """Turned away at 0.2 s, to come again at 2.2 s."""
    limit = {"gold": {"rps": 0.5}}
    asks = Ask(0.0, tenant=HASTY), Ask(0.2, tenant=HASTY)
    scenario = hasty(1.0, gateway__rate_limits=limit, workload__clients__retries=3)
    finished = tell(scenario, *asks)
    assert outcomes(finished) == ["completed", TIMED_OUT]
    assert finished.requests[1].finish_s == pytest.approx(1.2)
    assert finished.requests[1].attempts == 2


def test_the_time_counts_from_the_first_time_it_was_asked() -> None:
    limit = {"gold": {"rps": 0.5}}
    asks = Ask(0.0, tenant=HASTY), Ask(0.2, tenant=HASTY, output_tokens=10)
    scenario = hasty(2.5, gateway__rate_limits=limit, workload__clients__retries=3)
    late = tell(scenario, *asks).requests[1]
    assert (late.attempts, late.reason) == (2, "timeout")
    assert late.first_token_s == pytest.approx(2.1)
    assert late.finish_s == pytest.approx(2.7)


def test_between_its_replicas_loss_and_the_next_a_request_leaves_at_once() -> None:
    crash = {"crash": 0, "at_s": 0.45, "duration_s": 5.0}
    finished = tell(hasty(1.0, crash), Ask(0.0, tenant=HASTY, output_tokens=10))
    (request,) = finished.requests
    assert outcomes(finished) == [TIMED_OUT]
    assert request.finish_s == 1.0
    assert request.preempted_s == pytest.approx(0.55)
    assert request.emitted_tokens == 4


def test_a_request_that_has_moved_is_given_up_where_it_is() -> None:
    crash = {"crash": 0, "at_s": 0.45, "duration_s": 0.1}
    scenario = hasty(0.88, crash, replicas=2, gateway__routing="round_robin")
    finished = tell(scenario, Ask(0.0, tenant=HASTY, output_tokens=10), Ask(0.7, output_tokens=5))
    moved = finished.requests[0]
    assert outcomes(finished) == [TIMED_OUT, "completed"]
    assert moved.replica == 1
    assert moved.finish_s == pytest.approx(0.95)  # its steps are those since 0.45 s
    assert moved.emitted_tokens == 4 + 5


def test_one_that_was_to_leave_at_the_boundary_does_so_if_there_is_none() -> None:
    """Given up at 0.42 s, at the boundary of 0.5 s; the replica is lost at 0.45 s."""
    crash = {"crash": 0, "at_s": 0.45, "duration_s": 5.0}
    finished = tell(hasty(0.42, crash, replicas=2), Ask(0.0, tenant=HASTY, output_tokens=10))
    (request,) = finished.requests
    assert outcomes(finished) == [TIMED_OUT]
    assert (request.finish_s, request.replica) == (0.45, 0)
    assert request.emitted_tokens == 4


def test_on_its_way_to_another_region_a_request_leaves_at_once() -> None:
    far = {
        "fleet": [
            {"gpu": "mini", "region": "here", "tenants": ["tenant"]},
            {"gpu": "mini", "region": "there"},
        ],
        "tenants": [
            {"name": "tenant"},
            {"name": "hasty", "tier": "gold", "regions": ["here", "there"]},
        ],
        "gateway.cross_region_s": 0.5,
    }
    scenario = hasty(0.3).with_overrides(far)
    finished = tell(scenario, Ask(0.0, tenant=1), Ask(0.0))
    assert outcomes(finished) == [TIMED_OUT, "completed"]
    assert finished.requests[0].queue_s == pytest.approx(0.3)


# --- admission -----------------------------------------------------------------------------


def bounded(most: dict[str, int], **more: Any) -> Scenario:
    """One request at a time on each replica; who is turned away may come after 0.3 s."""
    admission = {"gateway__admission": {"max_queue": most, "retry_after_s": 0.3}}
    fields = {"tenants": TENANTS, "tiers": {"gold": {}}, "engine__max_num_seqs": 1}
    return story(**admission, **(fields | more))


def test_while_more_than_so_many_wait_their_tier_is_turned_away() -> None:
    """The first runs; two may wait, and the one that finds two waiting still comes in."""
    asks = [Ask(0.0, output_tokens=10)] + [Ask(0.1 + 0.01 * i) for i in range(5)]
    finished = tell(bounded({"standard": 2}), *asks)
    assert outcomes(finished) == ["completed"] * 4 + ["rejected: overloaded"] * 2
    assert finished.requests[-1].retry_after_s == 0.3
    assert finished.requests[-1].finish_s == 0.14


def test_a_tier_that_is_not_named_is_always_let_in() -> None:
    asks = [Ask(0.0, output_tokens=10)] + [Ask(0.1, tenant=HASTY) for _ in range(5)] + [Ask(0.2)]
    finished = tell(bounded({"standard": 2}), *asks)
    assert outcomes(finished) == ["completed"] * 6 + ["rejected: overloaded"]


def test_nobody_may_wait_where_the_bound_is_zero() -> None:
    asks = Ask(0.05), Ask(0.06), Ask(0.07)
    finished = tell(bounded({"standard": 0}), Ask(0.0, output_tokens=3), *asks)
    assert outcomes(finished) == ["completed"] * 2 + ["rejected: overloaded"] * 2


def test_the_bound_is_of_each_replica_on_average() -> None:
    asks = [Ask(0.0, output_tokens=10)] * 2 + [Ask(0.1)] * 5
    finished = tell(bounded({"standard": 1}, replicas=2), *asks)
    # Two run; three more are let in, finding none, one and two waiting.
    assert outcomes(finished) == ["completed"] * 5 + ["rejected: overloaded"] * 2


def test_a_replica_that_is_down_is_not_counted() -> None:
    """One is up, on which two wait."""
    crash = {"crash": 1, "at_s": 0.0, "duration_s": 50.0}
    asks = [Ask(0.1, output_tokens=10)] + [Ask(0.2)] * 5
    scenario = bounded({"standard": 1}, replicas=2).with_overrides({"events": [crash]})
    assert outcomes(tell(scenario, *asks)).count("completed") == 3


def test_who_is_turned_away_asks_again_when_it_was_told_to() -> None:
    """Told 0.3 s each time: at 0.45, 0.75 and 1.05 s, when the queue is short again."""
    asks = Ask(0.0, output_tokens=10), Ask(0.1), Ask(0.15)
    scenario = bounded({"standard": 0}, workload__clients__retries=3)
    finished = tell(scenario, *asks)
    assert outcomes(finished) == ["completed"] * 3
    late = finished.requests[2]
    assert late.attempts == 4
    assert late.queue_s == pytest.approx(1.1 - 0.15)
    gives_up = scenario.with_overrides({"workload.clients.retries": 2})
    assert outcomes(tell(gives_up, *asks))[2] == "rejected: overloaded"


def test_who_has_begun_is_never_turned_away() -> None:
    """A running request of a lost replica goes where the queue is full; one that only waited is
    turned away."""
    crash = {"crash": 0, "at_s": 0.45, "duration_s": 50.0}
    scenario = bounded({"standard": 0}, replicas=2).with_overrides({"events": [crash]})
    both = Ask(0.0, output_tokens=20), Ask(0.05, output_tokens=20)
    asks = [*both, *[Ask(0.1, tenant=HASTY)] * 3]
    finished = tell(scenario, *asks)
    assert outcomes(finished) == ["completed"] * 5
    begun, other = finished.requests[:2]
    assert (begun.replica, begun.preemptions, other.preemptions) == (1, 1, 0)
    finished = tell(scenario, *both, Ask(0.1), Ask(0.2, tenant=HASTY))
    assert outcomes(finished) == ["completed"] * 2 + ["rejected: overloaded", "completed"]
    assert finished.requests[2].finish_s == 0.45


def test_admission_looks_at_the_replicas_that_may_serve_the_request() -> None:
    own = {
        "fleet": [{"gpu": "mini"}, {"gpu": "mini", "tenants": ["own"]}],
        "tenants": [{"name": "tenant"}, {"name": "own"}],
    }
    scenario = bounded({"standard": 0}).with_overrides(own)
    busy = [Ask(0.0, output_tokens=10, tenant=0), Ask(0.1, tenant=0)]
    finished = tell(scenario, *busy, Ask(0.2, tenant=0), Ask(0.2, tenant=1))
    assert outcomes(finished)[2:] == ["rejected: overloaded", "completed"]
