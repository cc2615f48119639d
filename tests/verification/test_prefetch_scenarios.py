"""Ready-made scenarios of loading ahead show what they say they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simlora

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def summary_of(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    scenario = simlora.load_scenario(SCENARIOS / f"{name}.yaml", changes)
    return simlora.simulate(scenario).summary


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rate_limit_on_prefetching_cuts_the_p99_of_an_eviction_storm_by_half(seed: int) -> None:
    limit = "adapters.prefetch.rate_limit_per_s"
    storm, calm = (summary_of("eviction-storm", {limit: r, "seed": seed}) for r in (None, 5.0))
    assert calm["latency"]["ttft_s"]["p99"] <= 0.5 * storm["latency"]["ttft_s"]["p99"]
    # Calm not because less is loaded: each office adapter is there before its first request.
    assert calm["adapters"]["prefetches_used"] >= 50
    assert calm["adapters"]["prefetches"] == storm["adapters"]["prefetches"]


@pytest.mark.parametrize("seed", [0, 1])
def test_loading_at_login_spares_users_the_cold_start(seed: int) -> None:
    asked = "adapters.prefetch.session_start"
    ahead, late = (summary_of("prefetch-logins", {asked: on, "seed": seed}) for on in (True, False))
    assert ahead["adapters"]["hit_ratio"] > 0.97 > 0.9 > late["adapters"]["hit_ratio"]
    assert ahead["latency"]["ttft_s"]["p99"] < 0.2 * late["latency"]["ttft_s"]["p99"]


def test_a_hot_tier_of_200_serves_a_tail_of_2000_adapters() -> None:
    scenario = simlora.load_scenario(SCENARIOS / "long-tail-saas.yaml")
    result = simlora.simulate(scenario)
    assert result.summary["adapters"]["hit_ratio"] >= 0.99
    requests = result.requests["adapter"].astype(str).value_counts()
    assert scenario.tenants[0].count == 2_000
    assert 300 <= len(requests) <= 500  # active in a day
    assert requests.head(100).sum() / requests.sum() == pytest.approx(0.95, abs=0.02)
