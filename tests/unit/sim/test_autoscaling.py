"""Pools that grow and shrink: who waits for how long, and what is paid for."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.sim.fleet import OFF, UP
from tests.simulating import Finished
from tests.unit.sim.failing import Ask, outcomes, paid_s, story, tell

# Looks at 0, 1, 2 … s; a replica for two requests; half a second to start; down after two seconds.
SCALED: dict[str, Any] = {
    "min": 0,
    "target_requests": 2,
    "interval_s": 1.0,
    "down_after_s": 2.0,
    "startup_s": 0.5,
}


def finishes_s(finished: Finished) -> list[float]:
    return [request.finish_s for request in finished.requests]


def test_the_first_request_of_a_sleeping_pool_waits_for_the_start() -> None:
    """It comes between two looks."""
    (request,) = tell(story(autoscale=SCALED), Ask(0.3)).requests
    assert request.queue_s == pytest.approx(0.5)
    assert request.finish_s == pytest.approx(0.9)


def test_those_behind_it_wait_with_it() -> None:
    finished = tell(story(autoscale=SCALED), Ask(0.3), Ask(0.6))
    assert finishes_s(finished) == pytest.approx([0.9, 0.9])


def test_a_pool_with_nobody_to_serve_is_given_back_and_comes_again() -> None:
    """Wanted at 0.3 s and at the look of 1 s? No: done at 0.9 s. No more were wanted for two
    seconds at the look of 3 s. At 5 s it starts anew, with nothing in memory."""
    finished = tell(story(autoscale=SCALED), Ask(0.3), Ask(5.0), Ask(5.7))
    assert finishes_s(finished) == pytest.approx([0.9, 5.6, 5.8])
    (place,) = finished.simulation.fleet.members
    assert len(place.lives) == 2
    assert paid_s(finished) == pytest.approx([(3.0 - 0.3) + (5.8 - 5.0)])


def test_more_are_started_as_more_come_and_only_what_is_rented_is_paid_for() -> None:
    """Three requests of two seconds at 0.1 s: one replica is up; at the look of 1 s a second is
    wanted, ready at 1.5 s. At 2.1 s all is done. The look of 2 s still wanted two, that of 5 s is
    the first with no such want in two seconds, and takes the second away."""
    scaled = SCALED | {"min": 1}
    asks = [Ask(0.1, output_tokens=20)] * 3 + [Ask(1.6), Ask(7.0)]
    finished = tell(story(replicas=2, autoscale=scaled), *asks)
    assert finishes_s(finished) == pytest.approx([2.1, 2.1, 2.1, 1.7, 7.1])
    assert [request.replica for request in finished.requests] == [0, 0, 0, 1, 0]
    assert paid_s(finished) == pytest.approx([7.1, 5.0 - 1.0])
    up = {gauges[0]: gauges[-1] for gauges in finished.collector.gauges if gauges[1] == 1}
    assert [up[time_s] for time_s in (0.0, 1.0, 1.25, 1.5, 4.75, 5.25)] == [0, 0, 0, 1, 1, 0]


def test_it_begins_with_as_many_as_it_is_told() -> None:
    """And keeps them as if they had been wanted at the start."""
    scaled = SCALED | {"min": 1, "initial": 3}
    finished = tell(story(replicas=4, autoscale=scaled), Ask(6.0))
    assert paid_s(finished) == pytest.approx([6.1, 3.0, 3.0, 0.0])


def test_a_draining_replica_finishes_its_requests_and_takes_no_more() -> None:
    """Wanted are two at first; at the look of 3 s one has to go, which has work until 4 s."""
    scaled = SCALED | {"min": 1, "initial": 2, "target_requests": 8}
    asks = Ask(0.0), Ask(0.0, output_tokens=40), Ask(3.5), Ask(3.5), Ask(6.0)
    finished = tell(story(replicas=2, autoscale=scaled), *asks)
    assert [request.replica for request in finished.requests] == [0, 1, 0, 0, 0]
    assert paid_s(finished) == pytest.approx([6.1, 4.0])
    assert outcomes(finished) == ["completed"] * 5


def test_a_draining_replica_is_taken_back_at_once() -> None:
    """The look of 3 s lets the second drain; at 3.2 s many come, and at the look of 4 s it takes
    requests again without a start, with all that is in its memory."""
    scaled = SCALED | {"min": 1, "initial": 2, "target_requests": 8}
    asks = [
        Ask(0.0, adapter=0),
        Ask(0.0, adapter=1, output_tokens=60),
        *[Ask(3.2, output_tokens=20)] * 12,
        Ask(4.1, adapter=1),
    ]
    finished = tell(story(replicas=2, autoscale=scaled), *asks)
    last = finished.requests[-1]
    assert (last.replica, last.adapter_wait_s) == (1, 0.0)
    assert len(finished.simulation.fleet.members[1].lives) == 1
    assert paid_s(finished) == [finished.simulation.env.now] * 2


def test_a_start_that_is_not_wanted_any_more_is_called_off() -> None:
    """The only request gives up while the replica starts."""
    scaled = SCALED | {"startup_s": 10.0}
    asks = Ask(0.3), Ask(9.0, tenant=1)
    finished = tell(story(autoscale=scaled, gateway__timeouts_s={"standard": 1.5}), *asks)
    assert outcomes(finished) == ["failed: timeout", "failed: timeout"]
    # Started at 0.3 s and wanted at the look of 1 s; let go at that of 4 s; started again at 9 s.
    assert paid_s(finished) == pytest.approx([3.7 + 1.5])
    assert not finished.simulation.replicas


def test_one_that_breaks_while_it_starts_starts_again() -> None:
    crash = {"crash": 0, "at_s": 0.5, "duration_s": 0.1}
    (request,) = tell(story(crash, autoscale=SCALED), Ask(0.3)).requests
    assert request.queue_s == pytest.approx(0.3 + 0.5)


def test_one_that_is_broken_while_it_is_off_is_not_started_before_it_is_mended() -> None:
    """The look of 2 s finds it mended."""
    crash = {"crash": 0, "at_s": 0.1, "duration_s": 1.5}
    (request,) = tell(story(crash, autoscale=SCALED), Ask(0.3)).requests
    assert request.queue_s == pytest.approx(2.5 - 0.3)
    other = tell(story(crash, replicas=2, autoscale=SCALED), Ask(0.3)).requests[0]
    assert (other.replica, other.queue_s) == (1, pytest.approx(0.5))


def test_one_that_breaks_while_it_drains_is_off() -> None:
    scaled = SCALED | {"min": 1, "initial": 2, "target_requests": 8}
    crash = {"crash": 1, "at_s": 3.45, "duration_s": 0.1}
    asks = Ask(0.0), Ask(0.0, output_tokens=40), Ask(6.0)
    finished = tell(story(crash, replicas=2, autoscale=scaled), *asks)
    assert finished.requests[1].replica == 0
    assert paid_s(finished) == pytest.approx([6.1, 3.45])
    assert [member.state for member in finished.simulation.fleet.members] == [UP, OFF]


def test_another_takes_the_place_of_one_that_is_down() -> None:
    """And when it is back, one of them is too many."""
    scaled = SCALED | {"min": 1}
    crash = {"crash": 0, "at_s": 0.5, "duration_s": 4.0}
    finished = tell(story(crash, replicas=2, autoscale=scaled), Ask(0.7), Ask(3.0), Ask(6.5))
    assert [request.replica for request in finished.requests] == [1, 1, 0]
    # Nobody looks before it finds nobody there.
    assert finishes_s(finished) == pytest.approx([1.3, 3.1, 6.6])
    assert paid_s(finished) == pytest.approx([6.6, 5.0 - 0.7])


def test_the_last_one_up_is_not_let_go_while_another_is_down() -> None:
    scaled = SCALED | {"min": 1, "initial": 2, "down_after_s": 0.0, "interval_s": 0.4}
    crash = {"crash": 0, "at_s": 0.3, "duration_s": 10.0}
    finished = tell(story(crash, replicas=2, autoscale=scaled), Ask(1.0))
    assert finishes_s(finished) == pytest.approx([1.1])


def test_a_sleeping_pool_wakes_though_it_turns_the_first_away() -> None:
    scenario = story(
        autoscale=SCALED,
        gateway__when_unavailable="reject",
        gateway__admission__retry_after_s=0.4,
        workload__clients__retries=3,
    )
    finished = tell(scenario, Ask(0.3), Ask(0.35), Ask(0.9))
    # Up at 0.8 s; they come at 0.7 and 1.1 s, and at 0.75 and 1.15 s; the last at once.
    assert [request.attempts for request in finished.requests] == [3, 3, 1]
    assert finishes_s(finished) == pytest.approx([1.2, 1.3, 1.0])


def test_who_is_held_back_by_the_network_finds_the_pool_awake_again() -> None:
    """It is asked for at 2.9 s, let go at 3 s with the request still on its way."""
    scenario = story(autoscale=SCALED).with_overrides(
        {
            "fleet": [
                {"gpu": "mini", "region": "far", "autoscale": SCALED},
                {"gpu": "mini", "region": "near", "tenants": ["other"]},
            ],
            "tenants": [
                {"name": "tenant", "regions": ["near", "far"]},
                {"name": "other", "regions": ["near"]},
            ],
            "gateway.cross_region_s": 0.3,
        }
    )
    first, second = tell(scenario, Ask(0.3), Ask(2.9)).requests
    assert first.queue_s == pytest.approx(0.5 + 0.3)
    # Off at 3 s, found so at 3.2 s, up at 3.7 s, there at 4.0 s.
    assert second.queue_s == pytest.approx(0.3 + 0.5 + 0.3)


def test_a_pool_that_sleeps_in_the_midst_of_a_step_for_nobody_ends_the_run() -> None:
    """A blocking engine loads an adapter ahead, in a step of 0.35 s. Who waits for its end gives up
    at 0.15 s, and the look of 0.2 s finds nobody."""
    scaled = SCALED | {"initial": 1, "down_after_s": 0.0, "interval_s": 0.1}
    scenario = story(
        autoscale=scaled,
        engine__adapter_loading="blocking",
        adapters={"prefetch": {"top_k": 1, "rate_limit_per_s": None}},
        gateway__timeouts_s={"standard": 0.1},
    )
    finished = tell(scenario, Ask(0.05))
    assert outcomes(finished) == ["failed: timeout"]
    assert paid_s(finished) == pytest.approx([0.2])
    assert finished.simulation.env.now == pytest.approx(0.2)
