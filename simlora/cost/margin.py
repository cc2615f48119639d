"""What tenants pay for what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import numpy as np
import pandas as pd

from simlora.cost.month import Month
from simlora.cost.usage import months_of
from simlora.results.bill import Usage
from simlora.scenario.cost import Cost, Credit
from simlora.scenario.deployment import Deployment


def margins(
    deployment: Deployment, summary: Mapping[str, Any], table: pd.DataFrame, usage: Usage,
    month: Month, cost: Cost,
) -> pd.DataFrame:  # fmt: skip
    """One row a tenant, USD a month: `cost_usd`, `price_usd` (its tier's, and its tokens'),
    `credit_usd` for what its SLA was missed by, `margin_usd` and, of the price, `margin` (NaN
    without a price). `table` is the run's of tenants, in the same order.
    """
    scale = months_of(summary)
    tier = np.array([tenant.tier for tenant in deployment.tenants])
    names = deployment.tier_names
    flat = np.array([one.price_usd_month for one in deployment.tiers])
    per_input = np.zeros(len(names))
    per_output = np.zeros(len(names))
    for name, prices in cost.prices.items():
        per_input[names.index(name)] = prices.usd_per_million_input_tokens
        per_output[names.index(name)] = prices.usd_per_million_output_tokens
    millions_in = usage.total("prompt_tokens") * scale / 1e6
    millions_out = usage.total("output_tokens") * scale / 1e6
    price = flat[tier] + millions_in * per_input[tier] + millions_out * per_output[tier]
    attainment = table["sla_attainment"].to_numpy(dtype=np.float64)
    shares = [
        credit_share(cost.credits.get(names[of], ()), value)
        for of, value in zip(tier, attainment, strict=True)
    ]
    rows = pd.DataFrame(
        {
            "tenant": [tenant.name for tenant in deployment.tenants],
            "tier": [names[of] for of in tier],
            "adapters": [len(tenant.adapters) for tenant in deployment.tenants],
            "requests": table["offered"].to_numpy() * scale,
            "cost_usd": month.of_tenants,
            "price_usd": price,
            "credit_usd": price * np.array(shares),
        }
    )
    rows["margin_usd"] = rows["price_usd"] - rows["credit_usd"] - rows["cost_usd"]
    rows["margin"] = rows["margin_usd"] / rows["price_usd"].where(rows["price_usd"] > 0)
    return rows


def credit_share(credits: Sequence[Credit], attainment: float) -> float:
    """The share of the price given back for an attainment; nothing where it was not measured
    (NaN)."""
    return max((credit.share for credit in credits if attainment < credit.below), default=0.0)


def by_tier(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The sums of `margins` by tier, in their order, with the number of `tenants`."""
    figures = ["adapters", "requests", "cost_usd", "price_usd", "credit_usd", "margin_usd"]
    groups = rows.groupby("tier", sort=False)
    summed = groups[figures].sum()
    summed.insert(0, "tenants", groups.size())
    summed["margin"] = summed["margin_usd"] / summed["price_usd"].where(summed["price_usd"] > 0)
    return summed.reindex([name for name in names if name in summed.index])


@dataclass(frozen=True, slots=True)
class Units:
    """What one of something costs, USD, of the whole bill; None of nothing. Input and output tokens
    are told apart by their compute units."""

    tenant_month: float
    adapter_month: float | None
    million_tokens: float | None
    million_input_tokens: float | None
    million_output_tokens: float | None
    thousand_requests: float | None


def units(deployment: Deployment, usage: Usage, month: Month, requests: float, scale: float,
          cost: Cost) -> Units:  # fmt: skip
    """Unit costs of a month; `requests` and the usage are a run's, of which a month is `scale`."""
    asked = cost.attribution
    tokens_in = float(usage.total("prompt_tokens").sum()) * scale
    tokens_out = float(usage.total("output_tokens").sum()) * scale
    units_in = asked.input_weight * float(usage.total("input_tflop").sum())
    units_out = asked.output_weight * float(usage.total("output_tflop").sum())
    share_in = units_in / (units_in + units_out) if units_in + units_out else 0.5
    adapters = sum(len(tenant.adapters) for tenant in deployment.tenants)
    return Units(
        tenant_month=month.usd / len(deployment.tenants),
        adapter_month=_each(month.usd, adapters),
        million_tokens=_each(month.usd * 1e6, tokens_in + tokens_out),
        million_input_tokens=_each(month.usd * share_in * 1e6, tokens_in),
        million_output_tokens=_each(month.usd * (1 - share_in) * 1e6, tokens_out),
        thousand_requests=_each(month.usd * 1e3, requests * scale),
    )


def _each(usd: float, count: float) -> float | None:
    return usd / count if count else None


def total(rows: pd.DataFrame, column: str) -> float:
    """The sum of a column, exactly rounded."""
    return fsum(rows[column])
