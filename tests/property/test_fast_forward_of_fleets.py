"""Steps taken at once are the same as step after step, also while replicas break, start and stop,
and requests are given up."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from tests.property.cases import Case
from tests.property.disturbed import disturbed_cases
from tests.property.test_fast_forward import assert_phases_add_up, assert_same, both
from tests.property.watching import Watch
from tests.simulating import Finished

# Seldom drawn; the stories of the unit tests tell them.
SELDOM = {"lost while it was to leave", "lost while it drains", "leak waits for memory"}
SELDOM |= {"taken back while it drains"}
REASONS = ("overloaded", "unavailable", "timeout", "replica_lost", "adapter_load")


def outcomes(fast: Finished) -> list[str]:
    """What became of a run's requests, of all that ought to in some."""
    requests = fast.requests
    seen = {reason: any(r.reason == reason for r in requests) for reason in REASONS}
    seen |= {
        "turned away and came again": any(r.attempts > 1 for r in requests),
        "copies": any(r.shadow for r in requests),
        "several lives": len(fast.simulation.replicas) > len(fast.simulation.plans),
        "taken over": any(r.preemptions and not r.reason and r.status == 2 for r in requests),
        "cut while held or homeless": any(r.finish_s < 0 and r.replica < 0 for r in requests),
    }
    return [what for what, so in seen.items() if so]


def test_fast_forward_and_step_by_step_agree_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(monkeypatch)
    seen: Counter[str] = Counter()

    @settings(max_examples=800)
    @given(disturbed_cases())
    def agree(case: Case) -> None:
        watch.seen.clear()
        fast, reference = both(case)
        assert_same(fast, reference)
        assert_phases_add_up(fast.requests)
        for one, other in zip(
            fast.simulation.fleet.members, reference.simulation.fleet.members, strict=True
        ):
            assert len(one.lives) == len(other.lives)
        seen.update(outcomes(fast))
        seen.update(what for what, times in watch.seen.items() if times)

    agree()
    wanted = {*Watch.NAMES, *REASONS, "turned away and came again", "copies", "several lives"}
    wanted |= {"taken over", "cut while held or homeless"}
    wanted -= SELDOM
    rare = {what: seen[what] for what in wanted if seen[what] < 15}
    assert not rare, sorted(
        rare.items()
    )  # the cases are worth something only if all of this occurs
