"""Loads ahead of requests: when they begin, how far they go, and what they must leave alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Prefetch
from simlora.serving.loading import TO_DISK, TO_GPU, TO_HOST
from simlora.serving.prefetch import Prefetcher, Rhythm
from simlora.serving.request import COMPLETED, FAILED
from simlora.workload.blocks import RequestBlock
from tests.simulating import Ask, Finished, run, traffic_of
from tests.unit.serving.adapter_stories import (
    COPY_S,
    DOWNLOAD_S,
    READ_S,
    STEP_S,
    hot_since_s,
    room_for,
    scenario,
    slots,
    sources,
    starts_s,
    stats,
)

# A user logs in two seconds before the first request after a silence of five.
LOGIN: dict[str, Any] = {"session_start": True, "login_lead_s": 2.0, "session_gap_s": 5.0}
UNLIMITED = {"rate_limit_per_s": None}


def anything(adapter: int, goal: int) -> bool:
    return True


def ahead(finished: Finished) -> tuple[int, int, int]:
    """Prefetches begun, used and wasted."""
    found = stats(finished)
    return found.prefetches, found.prefetches_used, found.prefetches_wasted


# --- at login ------------------------------------------------------------------------------


def test_a_login_loads_the_adapter_before_the_first_request() -> None:
    finished = run(scenario(prefetch=LOGIN), [Ask(10.0, 0)])
    (request,) = finished.requests
    assert sources(finished) == ["hot"]
    assert hot_since_s(finished, 0) == pytest.approx(8.0 + COPY_S)
    assert request.adapter_wait_s == 0.0
    assert request.finish_s == pytest.approx(10.0 + STEP_S)
    assert ahead(finished) == (1, 1, 0)
    assert stats(finished).loads == 1


def test_from_the_store_it_goes_all_the_way_up() -> None:
    of = scenario(prefetch=LOGIN | {"login_lead_s": 9.0}, initial_tier="store")
    finished = run(of, [Ask(20.0, 0)])
    assert sources(finished) == ["hot"]
    assert hot_since_s(finished, 0) == pytest.approx(11.0 + DOWNLOAD_S + COPY_S)


def test_without_sessions_a_login_comes_after_a_silence_only() -> None:
    """One slot, so that what is loaded again would show."""
    of = scenario(slots(1), prefetch=LOGIN)
    asks = [Ask(10.0, 0), Ask(12.0, 1), Ask(14.0, 0), Ask(16.0, 1), Ask(30.0, 0)]
    finished = run(of, asks)
    # 0 and 1 log in at 8, 10 and, after a silence, 28; at 14 and 16 nobody does.
    assert stats(finished).prefetches == 3
    assert sources(finished) == ["hot", "hot", "warm", "warm", "hot"]


def test_a_session_logs_in_once_however_long_it_is_silent() -> None:
    of = scenario(slots(1), prefetch=LOGIN)
    deployment = expand(of)
    asks = [Ask(10.0, 0), Ask(30.0, 1), Ask(50.0, 0), Ask(70.0, 0), Ask(90.0, 1), Ask(110.0, 0)]
    sessions = np.array([5, 6, 5, 5, 7, 8])
    plain = traffic_of(deployment, asks)

    def blocks() -> Iterator[RequestBlock]:
        for block in plain.blocks():
            block.session = sessions
            yield block

    finished = run(of, replace(plain, blocks=blocks))
    assert sources(finished) == ["hot", "hot", "warm", "hot", "hot", "hot"]
    assert ahead(finished) == (4, 4, 0)


def test_an_adapter_that_is_hot_already_is_not_loaded_again() -> None:
    finished = run(scenario(prefetch=LOGIN), [Ask(10.0 * i, 0) for i in range(1, 4)])
    assert sources(finished) == ["hot"] * 3
    assert ahead(finished) == (1, 1, 0)
    assert stats(finished).loads == 1


@pytest.mark.parametrize("initial", ["warm", "store"])
def test_an_adapter_that_a_request_brings_up_is_not_loaded_beside_it(initial: str) -> None:
    """The login for the request at 20 comes at 9.1, when the one at 9 waits for its adapter."""
    prefetch = LOGIN | {"login_lead_s": 10.9, "session_gap_s": 9.5}
    finished = run(scenario(prefetch=prefetch, initial_tier=initial), [Ask(9.0, 0), Ask(20.0, 0)])
    plain = run(scenario(initial_tier=initial), [Ask(9.0, 0)])
    assert finished.requests[0].adapter_wait_s == pytest.approx(plain.requests[0].adapter_wait_s)
    assert (stats(finished).loads, stats(finished).prefetches) == (1, 0)


def test_what_is_evicted_before_anybody_asks_was_wasted() -> None:
    """Adapter 0 comes at 8; at 9.5 adapter 1, after no silence, takes the only slot."""
    asks = [Ask(7.0, 1), Ask(9.5, 1), Ask(10.0, 0)]
    finished = run(scenario(slots(1), prefetch=LOGIN), asks)
    assert sources(finished) == ["hot", "warm", "warm"]
    assert ahead(finished) == (2, 1, 1)


def test_a_prefetch_in_flight_when_the_request_comes_is_used() -> None:
    of = scenario(prefetch=LOGIN, initial_tier="store")
    finished = run(of, [Ask(10.0, 0), Ask(11.0, 0)])
    assert stats(finished).loads == 1
    assert stats(finished).terms_s["request"] == pytest.approx(2.0)  # once from the store
    assert finished.requests[0].adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S - 2.0)
    assert finished.requests[1].adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S - 3.0)
    assert ahead(finished) == (1, 1, 0)


def test_a_prefetch_on_its_last_hop_when_the_request_comes_is_used() -> None:
    finished = run(scenario(prefetch=LOGIN | {"login_lead_s": 0.2}), [Ask(10.0, 0)])
    assert stats(finished).loads == 1
    assert finished.requests[0].adapter_wait_s == pytest.approx(COPY_S - 0.2)
    assert ahead(finished) == (1, 1, 0)


def test_a_failed_prefetch_fails_those_who_joined_it_and_nobody_else() -> None:
    loading = {"failure_rate": 1.0, "retries": 0}
    prefetch = LOGIN | {"login_lead_s": 3.0}
    of = scenario(prefetch=prefetch, loading=loading, initial_tier="store")
    # Adapter 1's was given up before its request came, which then tries on its own.
    finished = run(of, [Ask(10.0, 0), Ask(10.0, -1), Ask(20.4, 1)])
    assert [r.status for r in finished.requests] == [FAILED, COMPLETED, FAILED]
    assert finished.requests[0].finish_s == pytest.approx(7.0 + DOWNLOAD_S)
    assert finished.requests[2].finish_s == pytest.approx(17.4 + DOWNLOAD_S)
    late = scenario(prefetch=LOGIN | {"login_lead_s": 8.0}, loading=loading, initial_tier="store")
    finished = run(late, [Ask(10.0, 0)])
    assert finished.requests[0].finish_s == pytest.approx(10.0 + DOWNLOAD_S)
    assert ahead(finished) == (1, 0, 1)
    assert stats(finished).loads_given_up == 2


# --- at the start --------------------------------------------------------------------------


def test_the_most_asked_for_are_loaded_at_the_start_as_fast_as_the_rate_allows() -> None:
    of = scenario(prefetch={"top_k": 3, "rate_limit_per_s": 2.0})
    asks = [Ask(20.0 + i, a) for i, a in enumerate((2, 0, 2, 3, 2, 0))]  # 2, then 0, then 3
    finished = run(of, asks)
    assert [hot_since_s(finished, a) for a in (2, 0, 3)] == pytest.approx(
        [COPY_S, 0.5 + COPY_S, 1.0 + COPY_S], abs=1e-9
    )
    assert sources(finished) == ["hot"] * 6
    assert ahead(finished) == (3, 3, 0)


def test_what_is_there_already_takes_nothing_of_the_rate() -> None:
    """Four adapters that lie in host memory do not delay the login of one of them."""
    prefetch = LOGIN | {"bulk": True, "rate_limit_per_s": 0.2}
    finished = run(scenario(prefetch=prefetch), [Ask(10.0, 0)])
    assert sources(finished) == ["hot"]
    assert hot_since_s(finished, 0) == pytest.approx(8.0 + COPY_S)


@pytest.mark.parametrize("inclusive", [True, False])
def test_bulk_fills_host_memory_with_the_most_asked_for(inclusive: bool) -> None:
    of = scenario(
        prefetch={"bulk": True, "rate_limit_per_s": 0.5},
        warm={"capacity_gb": room_for(2.5)},
        nvme={"inclusive": inclusive},
        initial_tier="nvme",
    )
    asks = [Ask(30.0 + i, a) for i, a in enumerate((3, 1, 3, 1, 3, 0, 2))]
    finished = run(of, asks)
    # 3 and 1 come from host memory; the others, asked for once, found no room and were left.
    assert sources(finished) == ["warm", "warm", "hot", "hot", "hot", "nvme", "nvme"]
    assert ahead(finished) == (2, 2, 0)


def test_bulk_loads_that_find_no_room_at_their_end_push_nobody_out() -> None:
    """All begin at once, and only two fit."""
    of = scenario(
        prefetch={"bulk": True} | UNLIMITED,
        warm={"capacity_gb": room_for(2.5)},
        initial_tier="store",
    )
    asks = [Ask(30.0 + i, a) for i, a in enumerate((3, 1, 3, 1, 3, 0, 2))]
    finished = run(of, asks)
    assert sources(finished)[:2] == ["warm", "warm"]


def test_regional_fills_the_disk_with_the_most_asked_for() -> None:
    of = scenario(
        prefetch={"regional": True, "rate_limit_per_s": 0.25},
        nvme={"capacity_gb": room_for(2.5)},
        initial_tier="store",
    )
    asks = [Ask(30.0 + i, a) for i, a in enumerate((3, 1, 3, 1, 3, 0, 2))]
    finished = run(of, asks)
    assert sources(finished) == ["nvme", "nvme", "hot", "hot", "hot", "store", "store"]
    assert finished.requests[0].adapter_wait_s == pytest.approx(READ_S + COPY_S)
    assert stats(finished).prefetches == 2


def test_copies_that_find_the_disk_full_at_their_end_push_nobody_out() -> None:
    """All begin at once, and only two fit."""
    of = scenario(
        prefetch={"regional": True} | UNLIMITED,
        nvme={"capacity_gb": room_for(2.5)},
        initial_tier="store",
    )
    asks = [Ask(30.0 + i, a) for i, a in enumerate((3, 1, 3, 1, 3, 0, 2))]
    assert sources(run(of, asks))[:2] == ["nvme", "nvme"]


def test_top_k_goes_up_all_the_way_and_the_rest_of_a_bulk_to_host_memory() -> None:
    of = scenario(prefetch={"top_k": 1, "bulk": True} | UNLIMITED, initial_tier="nvme")
    finished = run(of, [Ask(30.0, 1), Ask(31.0, 1), Ask(32.0, 0), Ask(33.0, -1)])
    assert sources(finished) == ["hot", "hot", "warm", "none"]
    assert stats(finished).loads == 2


# --- by their rhythm -----------------------------------------------------------------------

CADENCE = {"cadence": {"keep_s": 0.0}, "login_lead_s": 2.0}


def test_a_steady_adapter_is_brought_back_just_before_its_next_request() -> None:
    """Two in one slot, each every ten seconds: they throw each other out until three gaps are
    known."""
    asks = [Ask(10.0 + 5.0 * i, i % 2) for i in range(14)]
    finished = run(scenario(slots(1), prefetch=CADENCE), asks)
    assert sources(finished) == ["warm"] * 8 + ["hot"] * 6
    assert hot_since_s(finished, 1) == pytest.approx(75.0 - 2.0 + COPY_S)
    begun, used, wasted = ahead(finished)
    assert used == 6
    assert begun - used - wasted <= 2  # expected, and the run was over


def test_an_irregular_adapter_is_not() -> None:
    times = (10.0, 11.0, 31.0, 34.0, 74.0, 76.0, 91.0, 92.0, 150.0)
    asks = [ask for time in times for ask in (Ask(time, 0), Ask(time + 0.5, 1))]
    finished = run(scenario(slots(1), prefetch=CADENCE), asks)
    assert sources(finished) == ["warm"] * 18
    assert stats(finished).prefetches == 0


def test_who_comes_sooner_than_expected_is_not_expected_twice() -> None:
    prefetcher = Prefetcher(Prefetch.model_validate(CADENCE | UNLIMITED))
    for time in (0.0, 10.0, 20.0, 30.0):
        prefetcher.requested(7, time)
    assert prefetcher.next_s == 38.0
    prefetcher.requested(7, 37.0)
    assert prefetcher.due(38.0, anything) == []
    (due_s,) = {prefetcher.next_s}
    assert 37.0 < due_s < 47.0
    assert prefetcher.due(due_s, anything) == [(7, TO_GPU)]
    assert prefetcher.next_s == float("inf")


def test_a_rhythm_is_the_smoothed_gap_less_its_deviation() -> None:
    rhythm = Rhythm(100.0)
    for now in (110.0, 120.0):
        rhythm.heard(now)
        assert rhythm.next_s() is None  # too few gaps
    rhythm.heard(130.0)
    assert rhythm.next_s() == 140.0
    rhythm.heard(144.0)  # a gap of 14: a quarter of the error of 4 goes to each
    assert (rhythm.mean_s, rhythm.deviation_s) == (11.0, 1.0)
    assert rhythm.next_s() == 144.0 + 11.0 - 1.0
    rhythm.heard(244.0)
    assert rhythm.next_s() is None  # no rhythm any more


def fifo(keep_s: float, limit: int = 2) -> Any:
    return scenario(
        hot={"max_adapters": limit, "eviction": "fifo"},
        prefetch={"cadence": {"keep_s": keep_s}},
    )


@pytest.mark.parametrize(("keep_s", "left"), [(0.0, 0), (3.0, 0), (10.0, 1)])
def test_after_an_answer_an_adapter_is_kept_for_a_while(keep_s: float, left: int) -> None:
    """Adapter 0 is first in, and was answered last, at 8.1."""
    asks = [Ask(0.0, 0), Ask(2.0, 1), Ask(8.0, 0), Ask(13.0, 2)]
    finished = run(fifo(keep_s), asks)
    tiers = finished.schedulers[0].tiers
    assert [tiers.is_hot(a) for a in (0, 1, 2)] == [left != 0, left != 1, True]


def test_where_all_are_kept_a_load_goes_on_all_the_same() -> None:
    finished = run(fifo(80_000.0, limit=1), [Ask(0.0, 0), Ask(5.0, 1), Ask(10.0, 0)])
    assert [r.adapter_wait_s for r in finished.requests] == pytest.approx([COPY_S] * 3)


# --- what prefetches leave alone -----------------------------------------------------------


def test_a_prefetch_never_evicts_an_adapter_in_use() -> None:
    """Adapter 1 logs in at 8, while adapter 0 decodes in the only slot until 12.35."""
    asks = [Ask(2.0, 0, 10, 101), Ask(20.0, 1)]
    finished = run(scenario(slots(1), prefetch=LOGIN | {"login_lead_s": 12.0}), asks)
    using, later = finished.requests
    assert using.finish_s == pytest.approx(2.0 + COPY_S + 101 * STEP_S)
    assert using.preemptions == 0
    assert hot_since_s(finished, 1) == pytest.approx(using.finish_s + COPY_S)
    assert later.adapter_wait_s == 0.0


def test_a_waiting_request_goes_before_a_prefetch_that_was_asked_for_sooner() -> None:
    """Both want the slot that comes free at 12.35: the request at 9 for adapter 2, and a login of
    adapter 1 at 8."""
    asks = [Ask(2.0, 0, 10, 101), Ask(9.0, 2), Ask(20.0, 1)]
    prefetch = LOGIN | {"login_lead_s": 12.0, "session_gap_s": 15.0}
    finished = run(scenario(slots(1), prefetch=prefetch), asks)
    using, waiting, _ = finished.requests
    assert stats(finished).prefetches == 1
    assert starts_s(waiting) == pytest.approx(using.finish_s + COPY_S)
    assert hot_since_s(finished, 1) == pytest.approx(waiting.finish_s + COPY_S)


def test_an_adapter_that_left_host_memory_on_its_way_up_may_be_fetched_again() -> None:
    """Host memory has room for one, and adapter 3 takes it."""
    of = scenario(warm={"capacity_gb": room_for(1.5)}, initial_tier="nvme")
    tiers = run(of, [Ask(2.0, -1)]).schedulers[0].tiers  # nothing is up yet
    tiers.prefetch(1, TO_GPU, 20.0)
    tiers.arrived(tiers.outbox.pop(), 0.0, 21.0)
    tiers.fetch(tiers.state(3), 22.0)
    tiers.arrived(tiers.outbox.pop(), 0.0, 23.0)
    assert tiers.stats.prefetches_wasted == 1
    tiers.prefetch(1, TO_GPU, 24.0)
    assert tiers.next_ahead() is None  # the first time is over, the second still on its way
    tiers.arrived(tiers.outbox.pop(), 0.0, 25.0)
    waiting = tiers.next_ahead()
    assert waiting is not None
    assert waiting.index == 1


# --- the rate ------------------------------------------------------------------------------


def test_prefetches_begin_no_faster_than_the_rate() -> None:
    prefetcher = Prefetcher(Prefetch.model_validate({"rate_limit_per_s": 4.0}))
    for adapter in range(3):
        prefetcher.ask(adapter, TO_HOST)
    prefetcher.ask(0, TO_HOST)  # on the list already
    begun = []
    while prefetcher.next_s < float("inf"):
        now = prefetcher.next_s
        begun += [(now, *entry) for entry in prefetcher.due(now, anything)]
    assert begun == [(0.0, 0, TO_HOST), (0.25, 1, TO_HOST), (0.5, 2, TO_HOST)]
    prefetcher.ask(0, TO_DISK)
    assert prefetcher.due(10.0, anything) == [(0, TO_DISK)]  # after a pause at once, and no burst
    prefetcher.ask(1, TO_DISK)
    assert prefetcher.next_s == 10.25
    assert prefetcher.due(10.2, anything) == []


def test_without_a_limit_all_begin_at_once() -> None:
    of = scenario(prefetch={"top_k": 4} | UNLIMITED)
    finished = run(of, [Ask(10.0, 0)])
    assert [hot_since_s(finished, a) for a in range(4)] == pytest.approx([COPY_S] * 4, abs=1e-4)
