"""Faults of transfers go on where they were when a replica comes back."""

from __future__ import annotations

from tests.unit.sim.failing import Ask, outcomes, story, tell


def test_a_replica_that_comes_back_does_not_meet_the_same_faults_again() -> None:
    """Every life of it loads the same adapter once; half of the transfers fail."""
    crashes = [{"crash": 0, "at_s": 10.0 * life - 1, "duration_s": 0.5} for life in range(1, 21)]
    loading = {"failure_rate": 0.5, "retries": 0}
    scenario = story(*crashes, adapters={"initial_tier": "nvme", "loading": loading})
    finished = tell(scenario, *[Ask(10.0 * life, adapter=0) for life in range(20)])
    assert len(finished.simulation.replicas) >= 20
    assert 5 <= outcomes(finished).count("completed") <= 15
