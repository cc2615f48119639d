"""Where the first token is expected soonest, learned from finished requests."""

from __future__ import annotations

from math import inf

import numpy as np

from simlora.serving.routing import LatencyAware
from simlora.serving.routing.latency_aware import _MOST_PENDING
from tests.unit.serving.routing_fleet import Lines, fleet, numbered, request

FAST_S, SLOW_S = 0.1, 1.0
SLOW = 2  # of three replicas


def arrivals(rate_rps: float, duration_s: float) -> list[float]:
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.exponential(1 / rate_rps, int(1.2 * rate_rps * duration_s)))
    return times[times < duration_s].tolist()


def recovering(router: LatencyAware, *, slow_until_s: float, duration_s: float) -> Lines:
    """Three replicas, of which one is ten times as slow as the others for a while."""
    lines = Lines(
        router,
        numbered(0, 1, SLOW),
        lambda number, now: SLOW_S if number == SLOW and now < slow_until_s else FAST_S,
    )
    lines.serve(arrivals(15.0, duration_s))
    return lines


def test_a_slow_replica_is_avoided_but_tried_again_and_again() -> None:
    lines = recovering(LatencyAware(), slow_until_s=inf, duration_s=400.0)
    tries = [instant for instant, number in lines.chosen if number == SLOW and instant >= 100]
    assert 20 <= len(tries) <= 31  # every 10 s
    assert lines.share(SLOW, 100, 400) < 0.01
    assert np.diff(tries).min() >= 10


def test_a_replica_that_has_become_fast_again_gets_its_part_back() -> None:
    lines = recovering(LatencyAware(), slow_until_s=200.0, duration_s=400.0)
    assert lines.share(SLOW, 100, 200) < 0.01
    assert lines.share(SLOW, 300, 400) > 0.2


def test_without_tries_it_would_never_come_back() -> None:
    lines = recovering(LatencyAware(probe_after_s=inf), slow_until_s=200.0, duration_s=400.0)
    assert lines.share(SLOW, 300, 400) == 0


def test_a_replica_that_becomes_slow_loses_its_part() -> None:
    lines = Lines(
        LatencyAware(),
        numbered(0, 1, SLOW),
        lambda number, now: SLOW_S if number == SLOW and now >= 200 else FAST_S,
    )
    lines.serve(arrivals(15.0, 400.0))
    assert lines.share(SLOW, 100, 200) > 0.2
    assert lines.share(SLOW, 300, 400) < 0.02


def test_equal_replicas_get_equal_parts() -> None:
    lines = Lines(LatencyAware(), numbered(0, 1, 2), lambda number, now: FAST_S)
    lines.serve(arrivals(24.0, 400.0))
    for number in range(3):
        assert 0.25 < lines.share(number, 100, 400) < 0.42


def test_untold_it_takes_the_least_loaded() -> None:
    router = LatencyAware()
    assert router.choose(request(0), fleet(3, 1, 2)) == 1
    assert router.foresee(0, fleet(3, 2, 1)) == 2


def taught(*ttfts_s: float, **options: float) -> LatencyAware:
    """A router that has seen one request finish on each replica, all at second 0."""
    router = LatencyAware(**options)  # type: ignore[arg-type]
    for number, ttft_s in enumerate(ttfts_s):
        replicas = numbered(number)
        asked = request(0, number)
        router.choose(asked, replicas)
        asked.enqueued_s, asked.first_token_s, asked.finish_s = -ttft_s, 0.0, 0.0
        router.finished(asked, replicas[0])
    return router


def test_latency_counts_times_the_queue() -> None:
    router, replicas = taught(0.1, 0.3, slack=1), numbered(0, 1)
    replicas[0].outstanding = 1
    assert router.choose(request(0, 10), replicas) == 0
    replicas[0].outstanding = 3
    assert router.choose(request(0, 11), replicas) == 1


def test_what_is_known_of_a_replica_follows_its_number_not_its_place() -> None:
    router = taught(0.3, 0.1, 0.3)
    assert router.choose(request(0, 10), numbered(2, 1)) == 1
    assert router.choose(request(0, 11), numbered(1, 0)) == 0


def test_a_new_replica_is_taken_to_be_as_fast_as_the_fastest_known() -> None:
    router, replicas = taught(0.3, 0.1), numbered(0, 1, 2)
    replicas[1].outstanding = 1
    assert router.choose(request(0, 10), replicas) == 2
    replicas[2].outstanding = 2
    assert router.choose(request(0, 11), replicas) == 1


def test_requests_without_a_first_token_of_this_replica_teach_nothing() -> None:
    router, replicas = taught(0.2, 0.1), numbered(0, 1)
    failed, moved = request(0, 10), request(0, 11)
    failed.finish_s = 5.0
    moved.enqueued_s, moved.first_token_s, moved.finish_s = 4.0, 3.0, 5.0
    for asked in (failed, moved):
        router.choose(asked, replicas[:1])
        router.finished(asked, replicas[0])
        assert router.foresee(0, replicas) == 1
    stranger = request(0, 12)
    stranger.enqueued_s, stranger.first_token_s, stranger.finish_s = 0.0, 9.0, 9.0
    router.finished(stranger, replicas[1])  # it was sent by somebody else
    assert router.foresee(0, replicas) == 1


def test_a_latency_seen_under_load_is_not_held_against_an_idle_replica() -> None:
    router, replicas = taught(0.1, slack=1), numbered(0, 1)
    replicas[1].outstanding = 9
    asked = request(0, 10)
    assert router.choose(asked, replicas[1:]) == 0
    asked.enqueued_s, asked.first_token_s, asked.finish_s = 0.0, 0.5, 0.5
    router.finished(asked, replicas[1])
    replicas[1].outstanding = 0
    assert router.foresee(0, replicas) == 1  # 0.05 s


def test_a_replica_that_still_has_its_try_to_answer_gets_no_other() -> None:
    router, replicas = taught(0.1, 9.0), numbered(0, 1)
    assert router.choose(request(0, 10, arrival_s=9.0), replicas) == 0
    assert router.choose(request(0, 11, arrival_s=10.0), replicas) == 1
    replicas[1].outstanding = 1
    for index, arrival_s in enumerate((20.0, 31.0, 42.0)):
        assert router.choose(request(0, 12 + index, arrival_s=arrival_s), replicas) == 0
    replicas[1].outstanding = 0
    assert router.choose(request(0, 15, arrival_s=43.0), replicas) == 1


def test_requests_that_finish_at_one_instant_count_alike() -> None:
    router, replicas = LatencyAware(), numbered(0, 1)
    for index, ttft_s in enumerate((0.1, 0.1, 0.1, 0.7, 0.2)):
        asked, only = request(0, index), replicas[index // 4 :][:1]
        router.choose(asked, only)
        asked.enqueued_s, asked.first_token_s, asked.finish_s = 0.0, ttft_s, 1.0
        router.finished(asked, only[0])
    assert router.foresee(0, replicas) == 1  # 0.25 s on average against 0.2 s
    for index in (5, 6):
        asked = request(0, index)
        router.choose(asked, replicas[:1])
        asked.enqueued_s, asked.first_token_s, asked.finish_s = 0.0, 0.05, 1.0
        router.finished(asked, replicas[0])
    assert router.foresee(0, replicas) == 0  # 0.183 s


def test_what_is_long_ago_counts_little() -> None:
    router, replicas = taught(1.0, 0.5, memory_s=10.0), numbered(0, 1)
    asked = request(0, 10, arrival_s=50.0)
    router.choose(asked, replicas[:1])
    asked.enqueued_s, asked.first_token_s, asked.finish_s = 50.0, 50.1, 50.1
    router.finished(asked, replicas[0])
    assert router.foresee(0, replicas) == 0


def test_foreseeing_changes_nothing() -> None:
    router, replicas = taught(0.1, 0.2), numbered(0, 1)
    assert {router.foresee(adapter, replicas) for adapter in range(9)} == {0}
    late = request(0, 10, arrival_s=30.0)
    assert router.choose(late, replicas) == 0  # both may be tried, and neither has been since
    assert router.choose(request(0, 11, arrival_s=30.0), replicas) == 1


def test_requests_that_never_finish_are_forgotten() -> None:
    router, replicas = LatencyAware(), numbered(0, 1)
    asked = [request(0, index) for index in range(_MOST_PENDING + 1)]
    for one in asked:
        assert router.choose(one, replicas) == 0
    assert len(router._pending) == _MOST_PENDING
    for one, pending in ((asked[0], _MOST_PENDING), (asked[-1], _MOST_PENDING - 1)):
        one.enqueued_s, one.first_token_s, one.finish_s = 0.0, 0.1, 0.1
        router.finished(one, replicas[0])
        assert len(router._pending) == pending
