"""How many replicas a pool wants: up at once, down after a while."""

from __future__ import annotations

from simlora.scenario.autoscale import Autoscale
from simlora.serving.autoscaler import Autoscaler


def scaler(most: int = 5, **config: float) -> Autoscaler:
    """Ten requests a replica; down after 60 s."""
    fields = {"target_requests": 10, "down_after_s": 60} | config
    return Autoscaler(Autoscale.model_validate(fields), most)


def test_it_wants_as_many_as_keep_each_at_its_target() -> None:
    wanted = [scaler().wanted(unfinished, 100.0) for unfinished in (1, 10, 11, 20, 21, 50)]
    assert wanted == [1, 1, 2, 2, 3, 5]


def test_it_wants_no_less_than_min_and_no_more_than_there_are() -> None:
    assert scaler(min=2).wanted(0, 100.0) == 2
    assert scaler(min=0).wanted(0, 100.0) == 0
    assert scaler(min=0).wanted(1, 100.0) == 1
    assert scaler().wanted(1000, 100.0) == 5


def test_it_goes_up_at_once_and_down_when_no_more_were_wanted_for_a_while() -> None:
    follows = scaler()
    assert follows.wanted(0, 0.0) == 1
    assert follows.wanted(40, 5.0) == 4
    assert [follows.wanted(0, now) for now in (6.0, 30.0, 65.0)] == [4, 4, 4]
    assert follows.wanted(0, 65.1) == 1


def test_it_goes_down_in_steps_as_the_wants_of_the_last_while_did() -> None:
    follows = scaler()
    for now, unfinished in ((0.0, 40), (10.0, 30), (20.0, 20), (30.0, 0)):
        assert follows.wanted(unfinished, now) == 4
    found = [follows.wanted(0, now) for now in (60.0, 60.1, 70.1, 80.1)]
    assert found == [4, 3, 2, 1]


def test_a_want_that_lasts_counts_until_its_end() -> None:
    follows = scaler()
    for now in (0.0, 30.0, 60.0):
        assert follows.wanted(40, now) == 4
    assert follows.wanted(0, 120.0) == 4
    assert follows.wanted(0, 120.1) == 1


def test_the_replicas_that_it_begins_with_count_as_wanted_at_the_start() -> None:
    follows = scaler(initial=3)
    assert [follows.wanted(0, now) for now in (0.0, 60.0, 60.1)] == [3, 3, 1]


def test_without_a_window_it_follows_down_at_once() -> None:
    follows = scaler(down_after_s=0, min=0)
    assert [follows.wanted(n, now) for now, n in ((0.0, 0), (1.0, 25), (2.0, 0))] == [0, 3, 0]
