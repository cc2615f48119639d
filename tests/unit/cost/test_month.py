"""The lines of a month's bill, and what tenants pay for what they cost."""

from __future__ import annotations

from math import fsum, nan
from typing import Any

import pandas as pd
import pytest

from simlora.cost.margin import by_tier, credit_share, margins, units
from simlora.cost.month import Month, month
from simlora.cost.training import Estimate
from simlora.cost.usage import rents
from simlora.results.bill import Usage
from simlora.scenario.cost import Cost, Credit
from simlora.scenario.deployment import Deployment
from tests.unit.cost.billing import an_hour_of, deployment, usage

TRAINED = Estimate(tokens=1, tflop=1.0, hours=2.0, gpu_hours=8.0, usd=30.0)
TIERS = {
    "gold": {"price_usd_month": 2000.0, "sla": {"ttft_p99_s": 1.0}},
    "free": {},
}
COST: dict[str, Any] = {
    "storage": {"usd_per_gb_month": 2.0, "versions": 3, "copies": 2},
    "egress": {"usd_per_gb": 10.0, "bytes_per_output_token": 1000.0},
    "training": {"tokens_per_example": 100, "utilization": 0.4, "retrain_every_days": 60},
    "evaluation_usd_each": 8.0,
    "onboarding_usd_each": 50.0,
    "onboarded_per_month": 2.0,
    "team": {"fte": 0.5, "usd_per_fte_year": 120_000.0},
    "prices": {"free": {"usd_per_million_output_tokens": 3.0}},
    "credits": {"gold": [{"below": 0.99, "share": 0.1}, {"below": 0.9, "share": 0.3}]},
}


@pytest.fixture
def of() -> Deployment:
    tenants = [
        {"name": "gold", "count": 2, "tier": "gold"},
        {"name": "free", "count": 2, "tier": "free", "adapters": 0},
    ]
    return deployment(tenants=tenants, tiers=TIERS)


@pytest.fixture
def used(of: Deployment) -> Usage:
    return usage(
        of,
        gpu_s=[600.0, 300.0, 0.0, 900.0],
        prompt_tokens=[1e4, 1e4, 0.0, 1e4],
        output_tokens=[2e3, 0.0, 0.0, 1e4],
        input_tflop=[1.0, 1.0, 0.0, 1.0],
        output_tflop=[0.5, 0.0, 0.0, 1.0],
    )


def billed(of: Deployment, used: Usage, cost: Cost) -> Month:
    summary = an_hour_of(of)
    return month(of, summary, used, rents(of, summary, cost), cost, TRAINED)


def test_every_line_is_worked_out_from_its_own_measure(of: Deployment, used: Usage) -> None:
    found = billed(of, used, Cost.model_validate(COST))
    adapter_gb = of.adapters[0].nbytes / 1e9
    assert found.lines["serving"] == pytest.approx([480.0, 240.0, 0.0, 720.0])
    assert found.lines["storage"] == pytest.approx([adapter_gb * 12, adapter_gb * 12, 0, 0])
    assert found.lines["egress"] == pytest.approx([720 * 0.02, 0.0, 0.0, 720 * 0.1])
    assert found.lines["training"] == pytest.approx([15.0, 15.0, 0.0, 0.0])
    assert found.lines["evaluation"] == pytest.approx([4.0, 4.0, 0.0, 0.0])
    assert found.lines["onboarding"] == pytest.approx([25.0] * 4)
    assert found.lines["team"] == pytest.approx([1250.0] * 4)
    assert found.nobody_usd == pytest.approx(2880 / 2)
    assert found.usd == pytest.approx(fsum(found.of_tenants) + found.nobody_usd)
    assert found.bill["idle GPUs"] == pytest.approx(1440.0)


def test_margins_are_price_less_credit_less_cost(of: Deployment, used: Usage) -> None:
    cost = Cost.model_validate(COST)
    table = pd.DataFrame({"sla_attainment": [0.95, 0.5, nan, nan], "offered": [10, 5, 0, 20]})
    rows = margins(of, an_hour_of(of), table, used, billed(of, used, cost), cost)
    assert rows["price_usd"].tolist() == pytest.approx([2000, 2000, 0, 3.0 * 720 * 0.01])
    assert rows["credit_usd"].tolist() == pytest.approx([200.0, 600.0, 0.0, 0.0])
    margin = rows["price_usd"] - rows["credit_usd"] - rows["cost_usd"]
    assert rows["margin_usd"].tolist() == pytest.approx(margin.tolist())
    assert pd.isna(rows["margin"][2])  # who pays nothing has no margin in per cent
    tiers = by_tier(rows, of.tier_names)
    assert tiers.index.tolist() == ["gold", "free"]
    assert tiers["cost_usd"].sum() == pytest.approx(rows["cost_usd"].sum())
    assert tiers.loc["gold", "credit_usd"] == pytest.approx(800.0)


def test_unit_costs_times_their_counts_are_the_bill(of: Deployment, used: Usage) -> None:
    cost = Cost.model_validate(COST)
    found = billed(of, used, cost)
    each = units(of, used, found, 35.0, 720.0, cost)
    assert each.tenant_month * 4 == pytest.approx(found.usd)
    assert each.adapter_month is not None and each.adapter_month * 2 == pytest.approx(found.usd)
    assert each.million_input_tokens is not None and each.million_output_tokens is not None
    tokens_usd = each.million_input_tokens * 0.03 + each.million_output_tokens * 0.012
    assert tokens_usd * 720 == pytest.approx(found.usd)
    # All input tokens are 3 TFLOP, all output tokens 1.5, which count twice.
    assert each.million_input_tokens * 0.03 == pytest.approx(each.million_output_tokens * 0.012)


def test_the_largest_credit_counts_and_what_was_not_measured_gives_none() -> None:
    steps = [Credit(below=0.99, share=0.1), Credit(below=0.9, share=0.3)]
    assert [credit_share(steps, value) for value in (1.0, 0.99, 0.95, 0.2, nan)] == [
        0.0, 0.0, 0.1, 0.3, 0.0,
    ]  # fmt: skip
