"""The field's round figures, computed from what they are made of."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.cost.alternatives import (
    DEDICATED,
    SHARED,
    Demand,
    break_even,
    curves,
    on_the_same_demand,
)
from simlora.cost.capacity import saturated_s
from simlora.cost.density import places
from simlora.cost.month import month
from simlora.cost.training import estimate
from simlora.cost.usage import rents
from simlora.scenario.adapter_shape import AdapterShape
from simlora.scenario.catalog import load_gpu, load_model
from simlora.scenario.cost import Cost, Training
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import ModelChoice
from tests.unit.cost.billing import an_hour_of, deployment, usage

H100 = load_gpu("h100-80gb")
LLAMA_70B = load_model(ModelChoice(name="llama-3.3-70b"))


@pytest.mark.parametrize(
    ("gpu", "gpus", "model", "tenants", "month_usd", "tenant_usd"),
    [
        ("h100-80gb", 4, {"name": "llama-3.3-70b", "weights": "fp8"}, 100, 11_520, 115),
        ("h200", 4, {"name": "llama-3.3-70b", "weights": "fp8"}, 300, 17_280, 58),
        ("b200", 8, {"name": "llama-3.1-405b", "weights": "fp8"}, 200, 43_200, 216),
        ("l40s", 1, {"name": "llama-3.1-8b"}, 50, 1_440, 29),
    ],
)
def test_the_guides_four_clusters_cost_what_it_says_from_the_catalogs_prices(
    gpu: str, gpus: int, model: dict[str, Any], tenants: int, month_usd: float, tenant_usd: float
) -> None:
    """GPUs alone, all of the bill spread over tenants that use the same."""
    of = deployment(
        model=model,
        fleet=[{"gpu": gpu, "tensor_parallel": gpus}],
        tenants=[{"name": "tenant", "count": tenants}],
        cost={"attribution": {"idle": "spread"}},
    )
    cost, summary = of.scenario.cost, an_hour_of(of)
    used = usage(of, gpu_s=[5.0] * tenants, prompt_tokens=[1.0] * tenants)
    found = month(of, summary, used, rents(of, summary, cost), cost, None)
    assert found.usd == pytest.approx(month_usd)
    assert [round(usd) for usd in found.of_tenants] == [tenant_usd] * tenants


def training(examples: int, epochs: float, rank: int, tokens: int, utilization: float) -> Training:
    return Training(
        examples=examples,
        tokens_per_example=tokens,
        epochs=epochs,
        adapter=AdapterShape(rank=rank),
        gpus=4,
        usd_per_gpu_hour=25.0,
        utilization=utilization,
    )


def test_hours_of_a_training_at_the_guides_price_come_to_its_dollars() -> None:
    """Its $300 are 3 h, its $600 are 6 h, of four GPUs at $25 an hour each: six times what the same
    guide has an H100 rented for."""
    for hours, usd in ((3.0, 300.0), (6.0, 600.0)):
        timed = training(10_000, 1, 16, 1000, 0.4).model_copy(update={"hours": hours})
        assert estimate(timed, LLAMA_70B, H100).usd == usd
        rented = timed.model_copy(update={"usd_per_gpu_hour": None})
        assert estimate(rented, LLAMA_70B, H100).usd == pytest.approx(usd * 4.0 / 25.0)


def test_the_guides_hours_of_a_training_are_those_of_usual_lengths_and_utilization() -> None:
    """10,000 examples, rank 16, 1.5 to 3 h on four H100. It names neither tokens an example, nor
    epochs, nor utilization: three epochs of 1,000 tokens at 30 to 50 % come to its range or a
    little below, of 2,000 tokens into it."""
    hours = {
        (tokens, used): estimate(training(10_000, 3, 16, tokens, used), LLAMA_70B, H100).hours
        for tokens in (1000, 2000)
        for used in (0.3, 0.5)
    }
    assert 1.0 < hours[1000, 0.5] < hours[1000, 0.3] < 3.0
    assert 1.5 < hours[2000, 0.5] < 3.0
    assert hours[2000, 0.3] > 3.0  # and with low utilization beyond it


def test_the_guides_two_trainings_cannot_both_be_of_the_same_length_of_example() -> None:
    """50,000 examples are five times the work of 10,000, and the guide has two to four times the
    hours: so its 6 h are of shorter examples, or its 10,000 are passed over once more often."""
    once = training(10_000, 3, 16, 1000, 0.4)
    small = estimate(once, LLAMA_70B, H100)
    large = estimate(training(50_000, 3, 32, 1000, 0.4), LLAMA_70B, H100)
    assert large.tflop / small.tflop == pytest.approx(5.0, rel=0.01)  # a rank hardly counts
    assert large.hours > 6.0 > 1.5
    # What fits its 6 h at 40 %: examples of some 750 tokens.
    fitting = estimate(training(50_000, 3, 32, 750, 0.4), LLAMA_70B, H100)
    assert fitting.hours == pytest.approx(6.0, rel=0.15)


def test_twenty_clients_share_one_gpu_at_a_twentieth_of_the_price() -> None:
    """An 8B base and adapters of about 50 MB on an A100 at $2.50 an hour, or twenty of them at
    $50."""
    agency = load_scenario("scenarios/agency-20-clients.yaml")
    of = deployment(
        **{
            key: value
            for key, value in agency.model_dump(mode="json", exclude_unset=True).items()
            if key in ("model", "fleet", "tenants", "cost")
        }
    )
    assert len(of.tenants) == 20
    assert of.adapters[0].nbytes == pytest.approx(50e6, rel=0.1)
    (place,) = places(of.scenario)
    assert place.adapters > 20  # all are hot at once, and 131,072 tokens of KV beside them
    cost = Cost()
    (rent,) = rents(of, an_hour_of(of), cost)
    assert rent.usd == 2.5
    once_s = saturated_s(of, 0, 600, 200)
    little = Demand(600, 200, 1e-7, 5e-7, once_s, 720 * rent.usd, 0, [1000.0] * 20)
    own = curves(little, Cost.model_validate({"alternatives": {"lora_setup_usd": 0.0}}), None)
    assert on_the_same_demand(little, own)[DEDICATED] / 720 == pytest.approx(50.0)


@pytest.mark.parametrize("overhead", [0.1, 0.2])
def test_below_one_query_a_second_shared_is_cheaper_and_above_fifty_dedicated_may_be(
    overhead: float,
) -> None:
    """The guide's rule of thumb, for queries of 500 and 150 tokens on an 8B model and H100s. The
    pool is as busy as shared ones get (85 %). An instance of one's own pays from some dozens of
    queries a second on, by what LoRA takes, if it is kept as busy; at the 40 % that the guide has
    for dedicated ones it never does."""
    of = deployment()
    once_s, second = saturated_s(of, 0, 500, 150), 720 * 3600
    per_token = 2880 * once_s / (0.85 * second) / 650
    demand = Demand(500, 150, per_token, per_token, once_s, 2880.0, 0, [])
    points = {}
    for busy in (0.4, 0.85):
        asked = {"lora_setup_usd": 0.0, "lora_overhead": overhead, "dedicated_utilization": busy}
        ways = curves(demand, Cost.model_validate({"alternatives": asked}), None)
        points[busy] = break_even(ways[SHARED], ways["merged weights"])
        assert ways["merged weights"](second) > 10 * ways[SHARED](second)
    assert points[0.4].cheaper == "never"
    steady = points[0.85]
    assert steady.cheaper == "above" and steady.queries is not None
    assert 1 < steady.queries / second < 50
