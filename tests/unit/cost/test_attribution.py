"""Who pays how much of the bill, in cases small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simlora.cost.usage import rents
from simlora.results.bill import Divided, Rent, Usage, divide
from simlora.results.usage import QUANTITIES
from simlora.scenario.cost import Attribution, Cost, GpuPrices, Method
from tests.unit.cost.billing import an_hour_of, deployment, usage

# An hour of one H100 at $4; the tenants keep it busy for half of it.
BUSY = {
    "gpu_s": [900.0, 450.0, 450.0, 0.0],
    "prompt_tokens": [100.0, 100.0, 700.0, 0.0],
    "output_tokens": [0.0, 0.0, 100.0, 0.0],
    "input_tflop": [4.0, 0.0, 0.0, 0.0],
    "output_tflop": [0.0, 1.0, 1.0, 0.0],
    "kv_gb_s": [1.0, 1.0, 1.0, 1.0],
    "adapter_gb_s": [0.0, 0.0, 0.0, 4.0],
}


def divided(method: dict[str, float], idle: str = "own_line", **more: list[float]) -> Divided:
    of = deployment()
    asked = Attribution.model_validate({"method": method, "idle": idle})
    return divide(usage(of, **(BUSY | more)), rents(of, an_hour_of(of), Cost()), asked)


@pytest.mark.parametrize(
    ("method", "shares"),
    [
        ("gpu_seconds", [0.5, 0.25, 0.25, 0.0]),
        ("tokens", [0.1, 0.1, 0.8, 0.0]),
        ("compute_units", [0.5, 0.25, 0.25, 0.0]),  # an output token's operations count twice
        ("residency", [0.125, 0.125, 0.125, 0.625]),
    ],
)
def test_each_method_divides_the_busy_half_by_its_measure(method: str, shares: list[float]) -> None:
    found = divided({method: 1.0})
    assert found.of_tenants == pytest.approx([2.0 * share for share in shares])
    assert found.idle_usd == pytest.approx(2.0)
    spread = divided({method: 1.0}, "spread")
    assert spread.of_tenants == pytest.approx([4.0 * share for share in shares])
    assert spread.idle_usd == 0


def test_a_mix_is_the_weighted_mean_of_its_methods() -> None:
    mixed = divided({"tokens": 0.25, "residency": 0.75}).of_tenants
    tokens, residency = divided({"tokens": 1.0}), divided({"residency": 1.0})
    assert mixed == pytest.approx(0.25 * tokens.of_tenants + 0.75 * residency.of_tenants)


def test_loads_are_paid_by_those_whose_adapters_were_loaded_whatever_the_method() -> None:
    """The last tenant asked once, and its load held everybody up for 90 s; the time in the batch
    that it is charged by other methods is what is left."""
    found = divided({"tokens": 1.0}, load_gpu_s=[0.0, 0.0, 0.0, 90.0])
    assert found.cold_starts == pytest.approx([0.0, 0.0, 0.0, 0.1])
    assert found.serving == pytest.approx([0.19, 0.19, 1.52, 0.0])


def test_by_time_nobody_pays_for_loads_of_others() -> None:
    """Each pays its own seconds, at $4 an hour: the last one's are all of loads."""
    seconds = [900.0, 450.0, 90.0, 360.0]
    found = divided({"gpu_seconds": 1.0}, gpu_s=seconds, load_gpu_s=[0.0, 0.0, 0.0, 360.0])
    assert found.cold_starts == pytest.approx([0.0, 0.0, 0.0, 0.4])
    assert found.of_tenants == pytest.approx([each / 900 for each in seconds])


def test_idle_time_of_a_dedicated_pool_is_its_owners_and_an_unused_one_is_nobodys() -> None:
    rented = [
        Rent("own", 10.0, 1000.0, np.array([True, True, False])),
        Rent("shared", 6.0, 1000.0, np.array([False, False, False])),
        Rent("unused", 3.0, 1000.0, np.array([False, False, False])),
    ]
    figures = {name: np.zeros((3, 3)) for name in QUANTITIES}
    figures["gpu_s"] = np.array([[100.0, 0, 0], [0, 0, 500.0], [0, 0, 0]])
    found = divide(Usage(figures), rented, Attribution())
    assert found.of_tenants == pytest.approx([10.0, 0.0, 3.0])
    assert found.idle_usd == pytest.approx(6.0)
    figures["gpu_s"][0] = 0.0
    assert divide(Usage(figures), rented, Attribution()).idle == pytest.approx([5.0, 5.0, 0.0])


def test_what_a_gpu_hour_costs_follows_how_it_is_bought() -> None:
    of = deployment()
    prices = GpuPrices(
        reserved_share=0.5,
        reserved_discount=0.4,
        spot_share=0.25,
        spot_discount=0.6,
        spot_interruptions_per_day=12.0,
        spot_recovery_s=720.0,
    )
    (rent,) = rents(of, an_hour_of(of), Cost(gpu=prices, host_usd_per_gpu_hour=0.5))
    # A tenth of the time on spot is lost and bought again.
    assert rent.usd == pytest.approx(4 * (0.25 + 0.5 * 0.6 + 0.25 * 0.4 / 0.9) + 0.5)


def test_a_mix_that_does_not_add_up_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must add up to 1, not 0\.9"):
        Method(tokens=0.5, residency=0.4)
