"""What a replica's loss does to the requests that it had, and how it comes back."""

from __future__ import annotations

import pytest

from simlora.serving.request import SOURCE_NAMES
from tests.simulating import Finished
from tests.unit.serving.adapter_stories import COPY_S, DOWNLOAD_S, READ_S
from tests.unit.sim.failing import Ask, outcomes, paid_s, story, tell

CRASH = {"crash": 0, "at_s": 0.45, "duration_s": 1.0}  # back at 1.45


def finishes_s(finished: Finished) -> list[float]:
    return [request.finish_s for request in finished.requests]


# --- what becomes of its requests ----------------------------------------------------------


def test_a_decoding_request_goes_on_from_the_tokens_that_it_had() -> None:
    """Four of ten tokens by 0.45 s. Back at 1.45 s, a step computes prompt and tokens anew and
    gives the fifth; five more follow."""
    finished = tell(story(CRASH), Ask(0.0, output_tokens=10))
    (request,) = finished.requests
    assert request.finish_s == pytest.approx(1.45 + 0.1 + 0.5)
    assert request.first_token_s == pytest.approx(0.1)
    assert request.prefill_s == pytest.approx(0.1)
    assert request.decode_s == pytest.approx(0.35 + 0.5)
    assert request.preempted_s == pytest.approx(1.0 + 0.1)
    assert (request.queue_s, request.preemptions, request.emitted_tokens) == (0.0, 1, 10)
    assert sum(scheduler.preemptions for scheduler in finished.schedulers) == 1


def test_step_by_step_it_is_the_same() -> None:
    scenario = story(CRASH, run__fast_forward=False)
    assert finishes_s(tell(scenario, Ask(0.0, output_tokens=10))) == pytest.approx([2.05])


def test_a_prefilling_request_begins_anew() -> None:
    """Of 30 prompt tokens 20 are computed in two steps of ten; the third step is lost."""
    crash = CRASH | {"at_s": 0.25}
    chunks = {"engine__max_num_batched_tokens": 10, "engine__max_num_seqs": 10}
    (request,) = tell(story(crash, **chunks), Ask(0.0, prompt_tokens=30)).requests
    assert request.prefill_s == pytest.approx(0.25 + 0.3)
    assert request.preempted_s == pytest.approx(1.0)
    assert request.first_token_s == request.finish_s == pytest.approx(1.25 + 0.3)


def test_a_waiting_request_has_only_waited() -> None:
    """The one in front goes on first: it came first."""
    finished = tell(story(CRASH, engine__max_num_seqs=1), Ask(0.0, output_tokens=10), Ask(0.2))
    first, second = finished.requests
    assert first.finish_s == pytest.approx(2.05)
    assert (second.preemptions, second.preempted_s) == (0, 0.0)
    assert second.queue_s == pytest.approx(2.05 - 0.2)
    assert second.finish_s == pytest.approx(2.15)


def test_a_request_that_waits_for_its_adapter_waits_for_it_anew() -> None:
    """From host memory to the GPU; after the crash it is on disk only."""
    crash = CRASH | {"at_s": COPY_S / 2}
    finished = tell(story(crash, adapters={"initial_tier": "nvme"}), Ask(0.0, adapter=0))
    (request,) = finished.requests
    back_s = COPY_S / 2 + 1.0
    assert request.first_token_s == pytest.approx(back_s + READ_S + COPY_S + 0.1)
    assert request.adapter_wait_s == pytest.approx(READ_S + COPY_S)
    assert request.queue_s == pytest.approx(back_s)
    assert request.preemptions == 0


def test_its_requests_go_to_the_other_replica_at_once() -> None:
    """Beside one of eight tokens that was there since 0."""
    asks = Ask(0.0, output_tokens=10), Ask(0.0, output_tokens=8)
    finished = tell(story(CRASH, replicas=2), *asks)
    moved, other = finished.requests
    assert (moved.replica, other.replica) == (1, 1)
    # It joins at the step boundary of 0.5 s; a step gives its fifth token.
    assert moved.preempted_s == pytest.approx(0.5 - 0.45 + 0.1)
    assert finishes_s(finished) == pytest.approx([1.1, 0.8])


def test_its_requests_fail_where_that_is_asked_for() -> None:
    lost = story(CRASH, replicas=2, gateway__on_replica_loss="fail", engine__max_num_seqs=1)
    asks = Ask(0.0, output_tokens=10), Ask(0.0, output_tokens=8), Ask(0.1)
    finished = tell(lost, *asks)
    running, other, waiting = finished.requests
    assert outcomes(finished) == ["failed: replica_lost", "completed", "failed: replica_lost"]
    assert running.finish_s == waiting.finish_s == 0.45
    assert running.emitted_tokens == 4
    assert waiting.queue_s == pytest.approx(0.35)
    assert other.preemptions == 0


def test_nobody_is_there_and_who_comes_is_turned_away() -> None:
    """Who has begun waits all the same."""
    gone = story(CRASH, gateway__when_unavailable="reject", gateway__admission__retry_after_s=0.4)
    asks = Ask(0.0, output_tokens=10), Ask(0.5)
    finished = tell(gone, *asks)
    assert outcomes(finished) == ["completed", "rejected: unavailable"]
    assert finished.requests[1].retry_after_s == 0.4
    again = gone.with_overrides({"workload.clients.retries": 5})
    begun, late = tell(again, *asks).requests
    # At 0.5, 0.9, 1.3 and 1.7 s, when the replica is up.
    assert late.attempts == 4
    assert late.queue_s == pytest.approx(1.2 + 0.05)  # and to the step boundary of 1.75 s
    assert begun.finish_s == pytest.approx(2.05)


# --- what it has lost ----------------------------------------------------------------------


def test_it_comes_back_with_adapters_on_disk_only() -> None:
    crash = CRASH | {"at_s": 5.0}
    scenario = story(crash, adapters={"initial_tier": "nvme"})
    asks = [Ask(time_s, adapter=0) for time_s in (0.0, 4.0, 7.0)]
    finished = tell(scenario, *asks)
    assert [SOURCE_NAMES[request.adapter_source] for request in finished.requests] == [
        "nvme",
        "hot",
        "nvme",
    ]
    assert finished.requests[2].adapter_wait_s == pytest.approx(READ_S + COPY_S)


def test_it_comes_back_with_no_prefix() -> None:
    hashes = (1, 2)
    asks = [Ask(time_s, prompt_tokens=33, hashes=hashes) for time_s in (0.0, 0.2, 2.0)]
    finished = tell(story(CRASH), *asks)
    assert [request.cached_tokens for request in finished.requests] == [0, 32, 0]


def test_what_was_under_way_to_it_is_lost() -> None:
    """A download that began before the crash would have arrived after it."""
    crash = {"crash": 0, "at_s": DOWNLOAD_S - 0.1, "duration_s": 0.05}
    finished = tell(story(crash, adapters={"initial_tier": "store"}), Ask(0.0, adapter=0))
    (request,) = finished.requests
    assert request.adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S)
    assert request.queue_s == pytest.approx(DOWNLOAD_S - 0.05)
    lost, back = finished.simulation.replicas
    assert lost.scheduler.tiers.stats.loads == 0
    assert back.scheduler.tiers.stats.loads == 1
    assert [link.active for link in lost.links] == [0, 0, 0]
    assert lost.events == 0  # nothing is heard of it any more


def test_its_memory_is_empty_and_accounted_for() -> None:
    finished = tell(story(CRASH), Ask(0.0, adapter=0, output_tokens=10))
    lost, _ = finished.schedulers
    pool = lost.memory.pool
    pool.check()
    assert pool.held == [0, 0, 0]
    assert pool.peak[0] > 0


# --- when it is back -----------------------------------------------------------------------


def test_of_overlapping_losses_the_last_to_be_mended_counts() -> None:
    """0.45 to 1.45 s, and 1.0 to 1.2 s: mended at 1.45 s and not before."""
    inner = {"crash": 0, "at_s": 1.0, "duration_s": 0.2}
    assert finishes_s(tell(story(CRASH, inner), Ask(0.5))) == pytest.approx([1.55])
    longer = {"crash": 0, "at_s": 1.0, "duration_s": 1.0}
    assert finishes_s(tell(story(CRASH, longer), Ask(0.5))) == pytest.approx([2.1])


def test_one_that_is_lost_as_it_comes_back_is_lost() -> None:
    again = {"crash": 0, "at_s": 1.45, "duration_s": 1.0}
    assert finishes_s(tell(story(CRASH, again), Ask(0.5))) == pytest.approx([2.55])


def test_a_crash_before_the_first_request_costs_nothing() -> None:
    crash = {"crash": 0, "at_s": 0.0, "duration_s": 0.5}
    assert finishes_s(tell(story(crash), Ask(1.0))) == pytest.approx([1.1])


def test_a_region_that_fails_takes_all_its_replicas_at_once() -> None:
    """None goes to the other one first, to be lost there again."""
    outage = {"region_outage": "local", "at_s": 0.45, "duration_s": 1.0}
    finished = tell(story(outage, replicas=2), *[Ask(0.0, output_tokens=10)] * 2)
    assert [request.preemptions for request in finished.requests] == [1, 1]
    assert finishes_s(finished) == pytest.approx([2.05, 2.05])
    # Nor do all of them wait before the first that is back: they are back at the same instant.
    assert {request.replica for request in finished.requests} == {0, 1}


def test_a_replica_that_is_down_is_paid_for() -> None:
    finished = tell(story(CRASH, replicas=2), Ask(0.0), Ask(3.0))
    assert paid_s(finished) == pytest.approx([3.1, 3.1])
    # And the gauges say when it was there.
    up = [gauges[-1] for gauges in finished.collector.gauges if gauges[1] == 0]
    assert up[:8] == [1, 1, 0, 0, 0, 0, 1, 1]
