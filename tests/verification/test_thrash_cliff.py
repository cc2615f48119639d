"""The thrash cliff: more adapters than slots, at the same load."""

from __future__ import annotations

from pathlib import Path

import pytest

import simlora

CLIFF = Path(__file__).parents[2] / "scenarios" / "thrash-cliff.yaml"


def median_ttft_s(adapters: int, seed: int) -> float:
    scenario = simlora.load_scenario(CLIFF, {"tenants.0.count": adapters, "seed": seed})
    return float(simlora.simulate(scenario).summary["latency"]["ttft_s"]["p50"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twice_as_many_adapters_as_slots_take_more_than_fifty_times_as_long(seed: int) -> None:
    """Published for vLLM with eight slots: a median of 40 ms with 8 adapters, 6.3 s with 16."""
    fits, thrashes = median_ttft_s(8, seed), median_ttft_s(16, seed)
    assert 0.02 < fits < 0.08
    assert thrashes > 50 * fits
