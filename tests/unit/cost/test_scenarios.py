"""The shipped scenarios on money show what their comments say."""

from __future__ import annotations

from math import fsum
from typing import Any

import pytest

from simlora.cost.alternatives import DEDICATED, SHARED
from simlora.cost.analysis import Costs, costs
from simlora.results.result import Result
from simlora.scenario.loading import load_scenario
from simlora.sim import simulate


def looked_at(name: str, overrides: dict[str, Any] | None = None) -> tuple[Result, Costs]:
    scenario = load_scenario(f"scenarios/{name}.yaml", {"run.report": False, **(overrides or {})})
    result = simulate(scenario)
    return result, costs(result, scenario)


def test_an_agency_serves_twenty_clients_at_a_twentieth_of_the_price() -> None:
    result, found = looked_at("agency-20-clients")
    assert result.summary["adapters"]["hit_ratio"] > 0.95
    assert found.month.usd == pytest.approx(2.5 * 720)
    set_up = found.same_demand[DEDICATED] - 20 * 2.5 * 720
    assert 0 <= set_up == pytest.approx(20 * 300 / 12)
    assert found.same_demand[SHARED] < found.same_demand[DEDICATED] / 10


def test_unit_economics_has_115_dollars_of_gpu_a_tenant_and_everything_on_top() -> None:
    _, found = looked_at("unit-economics")
    bill = found.month.bill
    assert (bill["serving"] + bill["cold starts"] + bill["idle GPUs"]) / 100 == pytest.approx(115.2)
    assert all(bill[line] > 0 for line in ("storage", "egress", "training", "team"))
    assert found.tiers.loc["gold", "margin_usd"] > 0 > found.tiers.loc["free", "margin_usd"]
    costly = found.tenants[found.tenants["tier"] == "gold"]["margin_usd"].min()
    assert costly < 0  # the price of a tier covers the mean tenant, not the largest
    assert found.growth[-1].output_factor == pytest.approx(1.05**12)


def test_few_shot_retrieval_adapters_and_full_tuning_follow_each_other_with_demand() -> None:
    _, found = looked_at("lora-vs-rag")
    assert [reign.name for reign in found.reigns] == [
        "few-shot prompting",
        "RAG",
        SHARED,
        "full fine-tune",
    ]
    # The guide's ladder has the same steps: up to 10 thousand, 100 thousand, and from 10 million.
    shots, retrieval, shared = (reign.to_queries for reign in found.reigns[:3])
    assert 1e3 < shots < 1e5
    assert 1e4 < retrieval < 1e6
    assert 1e6 < shared < 1e8


def test_a_migration_on_sixteen_gpus_is_too_slow_for_its_week_and_on_forty_is_not() -> None:
    _, few = looked_at("migration")
    assert few.migration is not None and not few.migration.fits
    assert few.migration.gpus_needed == 40
    assert few.deletion.in_time is False and few.deletion.last_days == 45.0
    _, enough = looked_at("migration", {"cost.migration.gpus": 40})
    assert enough.migration is not None and enough.migration.fits
    assert enough.migration.gpu_hours == few.migration.gpu_hours


def test_memory_makes_adapters_cheap_if_there_are_some_to_fill_it() -> None:
    _, found = looked_at("gpu-classes")
    small = {place.gpu: place for place in found.places if place.model == "llama-3.1-8b"}
    assert small["a10g"].usd_per_adapter > small["l40s"].usd_per_adapter
    assert small["l40s"].usd_per_adapter > 3 * small["h200"].usd_per_adapter
    assert small["h200"].adapters > 2 * small["h100-80gb"].adapters
    assert found.units.adapter_month is not None
    assert found.units.adapter_month > small["l40s"].usd_per_adapter  # 60 adapters do not fill it


@pytest.mark.parametrize("method", ["gpu_seconds", "tokens", "residency"])
@pytest.mark.parametrize("idle", ["own_line", "spread"])
def test_a_runs_table_and_the_months_bill_charge_each_tenant_the_same(
    method: str, idle: str
) -> None:
    """The table's rows add up to what the fleet cost, so that idle time is spread there."""
    asked = {
        "cost.attribution": {"method": method, "idle": idle},
        "workload.duration_s": 60,
        "cost.gpu": {},
        "cost.host_usd_per_gpu_hour": 0,
    }
    scenario = load_scenario("scenarios/unit-economics.yaml", {"run.report": False, **asked})
    result = simulate(scenario)
    paid = result.tenants["cost_usd"]
    assert fsum(paid) == pytest.approx(result.summary["cost"]["fleet_usd"], abs=1e-9)
    found = costs(result, scenario.with_overrides({"cost.attribution.idle": "spread"}))
    lines = found.month.lines
    billed = lines["serving"] + lines["cold starts"] + lines["idle GPUs"]
    assert list(paid * found.scale) == pytest.approx(list(billed), rel=1e-9)
    assert paid.nunique() > 10
