"""Other ways to serve the same demand, and from how many queries a month each is the cheapest.

Only money is compared: prompting, retrieval and training do not give the same answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from simlora.cost.capacity import saturated_s
from simlora.cost.training import Estimate, trainings_per_month
from simlora.cost.usage import months_of
from simlora.results.bill import Rent, Usage
from simlora.results.summary import MONTH_H
from simlora.scenario.cost import Cost, Training
from simlora.scenario.deployment import Deployment

SHARED, DEDICATED, HYBRID = "shared LoRA", "dedicated instance", "hybrid"
LEAST_QUERIES, MOST_QUERIES = 1.0, 1e8
_GRID = 600

Curve = Callable[[float], float]  # queries a month -> USD a month


@dataclass(frozen=True, slots=True)
class Demand:
    """What one query takes on the shared fleet, on average, and what tokens cost there: the rent,
    idle time and all, divided by compute units. `replica_usd`: what a replica of the cheapest kind
    costs a month, and `replica_s`: seconds for which a query keeps it busy once it has all it can
    do. `queries` a month, by tenant."""

    prompt_tokens: float
    output_tokens: float
    usd_per_input_token: float
    usd_per_output_token: float
    replica_s: float
    replica_usd: float
    replica_kind: int  # entry of the fleet
    queries: Sequence[float]


def demand(
    deployment: Deployment,
    summary: Mapping[str, Any],
    usage: Usage,
    rented: Sequence[Rent],
    offered: Sequence[int],
    cost: Cost,
) -> Demand:
    """The demand of a run; `offered` are its requests by tenant."""
    scale, asked = months_of(summary), cost.attribution
    requests = max(float(np.sum(offered)), 1.0)
    tokens_in = float(usage.total("prompt_tokens").sum())
    tokens_out = float(usage.total("output_tokens").sum())
    units_in = asked.input_weight * float(usage.total("input_tflop").sum())
    units_out = asked.output_weight * float(usage.total("output_tflop").sum())
    per_unit = math.fsum(rent.usd for rent in rented) / max(units_in + units_out, 1e-12)
    pools = summary["simulation"]["fleet"]
    replica_usd = [
        rent.usd / rent.gpu_s * pool["tensor_parallel"] * 3600 * MONTH_H if rent.gpu_s else math.inf
        for rent, pool in zip(rented, pools, strict=True)
    ]
    kind = min(range(len(pools)), key=replica_usd.__getitem__)
    return Demand(
        prompt_tokens=tokens_in / requests,
        output_tokens=tokens_out / requests,
        usd_per_input_token=per_unit * units_in / max(tokens_in, 1.0),
        usd_per_output_token=per_unit * units_out / max(tokens_out, 1.0),
        replica_s=saturated_s(deployment, kind, tokens_in / requests, tokens_out / requests),
        replica_usd=replica_usd[kind],
        replica_kind=kind,
        queries=[scale * float(count) for count in offered],
    )


def curves(
    of: Demand,
    cost: Cost,
    training: Estimate | None,
    full: Estimate | None = None,
    adapter_gb: float = 0.0,
    model_gb: float = 0.0,
    adapters: float = 1.0,
) -> dict[str, Curve]:
    """What one tenant costs a month, by queries a month, in each way that the scenario gives the
    figures for: few-shot prompting needs its examples, retrieval its context or price, full
    fine-tuning `full_training`.

    Set-up is spread over `amortize_months`, and retraining comes on top. Shared queries cost what
    they did in the run, however busy that was; instances of one's own are added whole, as many as
    are busy for `dedicated_utilization` of the time with batches as full as they can be. Merged
    weights and full fine-tuning save what LoRA takes. A tenant has `adapters` of `adapter_gb` each,
    on average; each is trained and stored, and merged into an instance of its own. One full
    fine-tune is in place of them all.
    """
    asked = cost.alternatives
    lora_usd = adapters * (
        _trained(setup_usd(cost, training), cost.training, cost)
        + cost.storage.usd_per_gb_month * cost.storage.copies * adapter_gb
    )
    usd_in, usd_out = of.usd_per_input_token, of.usd_per_output_token
    query_usd = of.prompt_tokens * usd_in + of.output_tokens * usd_out
    # The base model alone computes what LoRA takes the less.
    base_usd = query_usd * (1 - asked.lora_overhead)
    rag, shots = asked.rag, asked.few_shot
    rag_fixed_usd = rag.setup_usd / asked.amortize_months + rag.usd_per_month
    rag_query_usd = rag.usd_per_query + rag.context_tokens * usd_in
    shot_usd = shots.examples * shots.tokens_per_example * usd_in
    base_in = 1 - asked.lora_overhead
    found: dict[str, Curve] = {SHARED: lambda q: lora_usd + q * query_usd}
    if shot_usd:
        found["few-shot prompting"] = lambda q: q * (base_usd + shot_usd * base_in)
    if rag_query_usd:
        found["RAG"] = lambda q: (
            rag_fixed_usd
            + q * (base_usd + rag.usd_per_query + rag.context_tokens * usd_in * base_in)
        )
        found["LoRA + RAG"] = lambda q: lora_usd + rag_fixed_usd + q * (query_usd + rag_query_usd)
    merged_s = of.replica_s * (1 - asked.lora_overhead)
    found["merged weights"] = lambda q: (
        lora_usd + _instances(q, of, asked.dedicated_utilization, merged_s, math.ceil(adapters))
    )
    found[DEDICATED] = lambda q: lora_usd + _instances(q, of, asked.dedicated_utilization)
    if full is not None:
        full_usd = _trained(full.usd, asked.full_training, cost)
        full_usd += cost.storage.usd_per_gb_month * cost.storage.copies * model_gb
        found["full fine-tune"] = lambda q: (
            full_usd + _instances(q, of, asked.dedicated_utilization, merged_s)
        )
    return found


def setup_usd(cost: Cost, training: Estimate | None) -> float:
    """USD to set up one adapter."""
    return cost.alternatives.lora_setup_usd if training is None else training.usd


def _trained(setup_usd: float, training: Training | None, cost: Cost) -> float:
    """USD a month of a training, and of those that follow it."""
    again = 0.0 if training is None else trainings_per_month(training)
    return setup_usd / cost.alternatives.amortize_months + again * setup_usd


def _instances(
    queries: float,
    of: Demand,
    utilization: float,
    replica_s: float | None = None,
    least: int = 1,
) -> float:
    """USD of the replicas that one tenant needs for itself; at least one, however few queries."""
    busy_s = queries * (of.replica_s if replica_s is None else replica_s)
    needed = math.ceil(busy_s / (utilization * MONTH_H * 3600) - 1e-9)
    return max(1, least, needed) * of.replica_usd


def on_the_same_demand(of: Demand, ways: Mapping[str, Curve]) -> dict[str, float]:
    """What all tenants together cost a month in each way, and where each is served in the cheaper
    of the shared and its own instance (hybrid)."""
    found = {
        name: math.fsum(curve(queries) for queries in of.queries) for name, curve in ways.items()
    }
    shared, dedicated = ways[SHARED], ways[DEDICATED]
    found[HYBRID] = math.fsum(min(shared(q), dedicated(q)) for q in of.queries)
    return found


@dataclass(frozen=True, slots=True)
class Reign:
    """From so many queries a month up to so many, nothing is cheaper."""

    name: str
    from_queries: float
    to_queries: float


def cheapest(ways: Mapping[str, Curve]) -> list[Reign]:
    """Which way is the cheapest where, between 1 and 100 million queries a month. Ends are exact to
    a query; what reigns for less than a step of 3 % may be missed."""
    grid = np.geomspace(LEAST_QUERIES, MOST_QUERIES, _GRID).tolist()
    reigns: list[Reign] = []
    began, name = grid[0], _cheapest_at(ways, grid[0])
    for low, high in pairwise(grid):
        follower = _cheapest_at(ways, high)
        if follower != name:
            at = _end_of_reign(ways, name, low, high)
            reigns.append(Reign(name, began, at))
            began, name = at, follower
    return [*reigns, Reign(name, began, grid[-1])]


def _end_of_reign(ways: Mapping[str, Curve], name: str, low: float, high: float) -> float:
    return _first(lambda queries: _cheapest_at(ways, queries) != name, low, high)


def _cheapest_at(ways: Mapping[str, Curve], queries: float) -> str:
    return min(ways, key=lambda name: ways[name](queries))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Where one way is cheaper than another: `always` or `never` between 1 and 100 million queries
    a month, or `below` or `above` so many `queries`. `again`: beyond that point it changes once
    more, the price of instances going up in steps."""

    cheaper: Literal["always", "never", "below", "above"]
    queries: float | None = None
    again: bool = False


def break_even(one: Curve, other: Curve) -> BreakEven:
    """Where `other` is cheaper than `one`: the first change of it, exact to a query."""
    grid = np.geomspace(LEAST_QUERIES, MOST_QUERIES, _GRID).tolist()
    at_first, *later = [other(queries) < one(queries) for queries in grid]
    if (not at_first) not in later:
        return BreakEven("always" if at_first else "never")
    changed = later.index(not at_first)
    at = _first(
        lambda queries: (other(queries) < one(queries)) != at_first,
        grid[changed],
        grid[changed + 1],
    )
    return BreakEven("below" if at_first else "above", at, again=at_first in later[changed:])


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where it begins to hold, between a point where it does not and one where it does."""
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Dedication:
    """Whether a tenant is to have an instance of its own; USD a month. `by_penalty`: what is given
    back to it for a missed SLA is more than the instance costs; `by_cost`: that and what it costs
    on the shared fleet are."""

    tenant: str
    credit_usd: float
    shared_usd: float
    dedicated_usd: float
    by_penalty: bool
    by_cost: bool


def dedicate(
    tenant: str, queries: float, credit_usd: float, ways: Mapping[str, Curve]
) -> Dedication:
    """The rule of a guide to multi-tenant serving, "if the penalty exceeds the monthly cost of a
    dedicated instance, dedicate", and the sum that the rule leaves out."""
    shared_usd, dedicated_usd = ways[SHARED](queries), ways[DEDICATED](queries)
    return Dedication(
        tenant,
        credit_usd,
        shared_usd,
        dedicated_usd,
        by_penalty=credit_usd > dedicated_usd,
        by_cost=credit_usd + shared_usd > dedicated_usd,
    )
