"""The figures of a run that a comparison is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simlora.scenario.deployment import Deployment

Unit = Literal["count", "per_s", "s", "share", "usd"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a run.

    `path` is where it lies in `summary.json` (but `PER_TENANT`, which is made of two figures).
    `head` is its name in two short lines. `of_tier`: it is one tier's. `given`: it follows from the
    scenario, whatever happens in the run.
    """

    path: tuple[str, ...]
    title: str
    head: tuple[str, str]
    unit: Unit
    higher_is_better: bool
    of_tier: bool = False
    given: bool = False

    @property
    def key(self) -> str:
        """The path joined by dots."""
        return ".".join(self.path)

    @property
    def name(self) -> str:
        """The short name in one line."""
        return " ".join(self.head)


PER_TENANT = ("cost", "usd_per_tenant_month")
_TTFT, _LATENCY, _ADAPTERS = ("latency", "ttft_s"), ("latency", "e2e_s"), "adapters"
_TOKENS = ("throughput", "output_tokens_per_s")
_TOKEN_COST = ("cost", "usd_per_million_output_tokens")

_OF_A_RUN = (
    Metric((*_TTFT, "p50"), "TTFT, median", ("TTFT", "p50"), "s", False),
    Metric((*_TTFT, "p99"), "TTFT, p99", ("TTFT", "p99"), "s", False),
    Metric((*_LATENCY, "p99"), "end to end, p99", ("E2E", "p99"), "s", False),
    Metric((_ADAPTERS, "hit_ratio"), "adapter found hot", ("adapter", "hits"), "share", True),
    Metric((_ADAPTERS, "loads"), "adapter loads", ("adapter", "loads"), "count", False),
    Metric((_ADAPTERS, "load_wait_s"), "sum of adapter waits", ("adapter", "wait"), "s", False),
    Metric(_TOKENS, "output tokens/s", ("output", "tokens/s"), "per_s", True),
    Metric(("requests", "completed"), "requests completed", ("requests", "done"), "count", True),
    Metric(_TOKEN_COST, "cost per M output tokens", ("cost/M", "tokens"), "usd", False),
    Metric(
        PER_TENANT, "cost of a tenant and month", ("tenant's", "month"), "usd", False, given=True
    ),
)


def metrics_of(deployments: Sequence[Deployment]) -> list[Metric]:
    """The metrics that some of the deployments can have: those of a run, then tier by tier the p99
    of TTFT (if there are several tiers) and the attainment (if it promises anything)."""
    names = [deployment.tier_names for deployment in deployments]
    tiers = dict.fromkeys(name for of_one in names for name in of_one)
    promising = {
        name
        for deployment in deployments
        for name, tier in zip(deployment.tier_names, deployment.tiers, strict=True)
        if any(bound is not None for bound in tier.sla.model_dump().values())
    }
    ttft = [
        Metric(
            ("tiers", name, "ttft_s", "p99"),
            f"TTFT of {name}, p99",
            (name, "TTFT p99"),
            "s",
            False,
            of_tier=True,
        )
        for name in tiers
        if len(tiers) > 1
    ]
    attainment = [
        Metric(
            ("tiers", name, "sla_attainment"),
            f"{name} within its promises",
            (name, "SLA kept"),
            "share",
            True,
            of_tier=True,
        )
        for name in tiers
        if name in promising
    ]
    return [*_OF_A_RUN, *ttft, *attainment]


def figures_of(
    metrics: Sequence[Metric], summary: Mapping[str, Any], tenants: int
) -> dict[str, float | None]:
    """The metrics of a run from its summary, by key; None where it has none."""
    return {
        metric.key: summary["cost"]["fleet_usd_per_month"] / tenants
        if metric.path == PER_TENANT
        else _at(summary, metric.path)
        for metric in metrics
    }


def _at(summary: Mapping[str, Any], path: Sequence[str]) -> float | None:
    found: Any = summary
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return None if found is None else float(found)
