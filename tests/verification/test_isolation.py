"""The ready-made scenario of isolation shows what it says it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import simlora
from simlora.planning.isolation import Isolation, isolation, taxes

SCENARIO = Path(__file__).parents[2] / "scenarios" / "isolation-tax.yaml"


@pytest.fixture(scope="module")
def found() -> Isolation:
    return isolation(simlora.load_scenario(SCENARIO))


def test_isolated_caches_tell_an_attacker_nothing(found: Isolation) -> None:
    for leak in found.leaks:
        if leak.mode in ("adapter", "tenant", "selective"):
            assert leak.auc.value == pytest.approx(0.5, abs=0.02)
            assert leak.bits < 0.005
            assert leak.hit_share == 0.0


def test_they_tell_nothing_on_other_seeds_either() -> None:
    """4,000 probes have an AUC of 0.5 ± 0.009 by chance alone: the mean of four is looked at."""
    values = []
    for seed in range(1, 5):
        scenario = simlora.load_scenario(SCENARIO, {"seed": seed})
        (leak,) = isolation(scenario, modes=["adapter"], faster=0.0).leaks
        values.append(leak.auc.value)
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_a_shared_cache_tells_right_guesses_from_wrong_ones_and_noise_only_blunts_it(
    found: Isolation,
) -> None:
    leaks = {leak.mode: leak for leak in found.leaks}
    assert leaks["shared"].auc.value > 0.9
    assert leaks["shared"].bits > 0.3
    assert leaks["shared"].hit_share > 0.95
    assert 0.6 < leaks["shared+noise"].auc.value < leaks["shared"].auc.value - 0.05


def test_isolation_has_a_tax_of_which_selective_isolation_spares_most(found: Isolation) -> None:
    tax = {
        price.mode: change for price, change in zip(found.prices, taxes(found.prices), strict=True)
    }
    late = {mode: change["ttft_p99_s"] or 0.0 for mode, change in tax.items()}
    assert late["adapter"] > 50
    assert late["adapter"] > late["tenant"] > late["selective"]
    assert late["selective"] < 15
    saturated = {
        price.mode: change["output_tokens_per_s"] or 0.0
        for price, change in zip(found.saturated, taxes(found.saturated), strict=True)
    }
    assert saturated["adapter"] < -10
    assert saturated["selective"] > -2
