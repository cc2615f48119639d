"""The step log: which steps made how many tokens for which tier."""

from __future__ import annotations

import sys

from simlora.results.steplog import StepLog
from simlora.serving.phases import USE, WEIGHT


def drained(log: StepLog) -> list[list[tuple[float, float]]]:
    return [list(zip(v.tolist(), w.tolist(), strict=True)) for v, w in log.drain()]


def test_a_step_makes_a_token_for_every_request_that_decodes() -> None:
    log = StepLog(tiers=2)
    log.decode_starts[0] += [0, 1]
    log.decode_starts[1] += [2]
    log.step_s += [0.1, 0.2, 0.3]
    log.steps += [1, 5, 2]
    log.decode_ends[0] += [2, 3]
    log.decode_ends[1] += [3]
    assert drained(log) == [[(0.1, 1), (0.2, 10), (0.3, 2)], [(0.3, 2)]]


def test_requests_decode_on_after_a_drain() -> None:
    log = StepLog(tiers=1)
    steps = log.step_s
    log.decode_starts[0].append(0)
    log.step_s.append(0.1)
    log.steps.append(3)
    log.decode_starts[0].append(1)  # from the event to come
    assert drained(log) == [[(0.1, 3)]]
    log.step_s.append(0.2)
    log.steps.append(4)
    log.decode_ends[0] += [1, 1]
    assert log.step_s is steps
    assert drained(log) == [[(0.2, 8)]]
    assert drained(log) == [[]]


def test_events_without_decode_steps_make_no_tokens() -> None:
    log = StepLog(tiers=1)
    log.decode_starts[0].append(0)
    log.step_s += [0.1, 0.2]
    log.steps += [0, 1]
    assert drained(log) == [[(0.2, 1)]]


def test_a_gap_made_by_a_preemption_is_one_token() -> None:
    log = StepLog(tiers=2)
    log.gaps.append((1, 2.5))
    assert drained(log) == [[], [(2.5, 1)]]
    assert log.gaps == []


def test_a_profiler_that_holds_frames_is_not_in_the_way() -> None:
    """As the one in dask's workers, which samples all the time."""
    log = StepLog(tiers=1)
    log.weights += WEIGHT.pack(0.0, 0, 1) + WEIGHT.pack(1.0, 0, -1)
    log.uses += USE.pack(0, 0.0, 1.0)
    held: list[object] = []
    sys.setprofile(lambda frame, *_: held.append(dict(frame.f_locals)))
    try:
        log.drain()
    finally:
        sys.setprofile(None)
    assert log.batch_time.busy_s == {0: 1.0}
    assert not log.weights and not log.uses
