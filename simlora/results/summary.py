"""`summary.json`: a run in figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from simlora.results.arrays import Ints
from simlora.results.budget import error_budget
from simlora.results.fairness import fairness
from simlora.results.schema import RunFacts
from simlora.results.statistics import RELATIVE_ERROR, Distribution
from simlora.results.tenants import TenantStatistics
from simlora.results.tiers import METRICS, PERCENTILES, STATUSES, TierStatistics

if TYPE_CHECKING:
    from simlora.scenario.deployment import Deployment
    from simlora.scenario.schema import Tier

_MONTH_H = 720.0
_LATE_SHARE = 0.01  # of requests, that the promise of a p99 lets be late
_PROMISED_METRICS = {"ttft_p99_s": "ttft_s", "tpot_p99_s": "tpot_s", "e2e_p99_s": "e2e_s"}


@dataclass(frozen=True, slots=True)
class Totals:
    """Requests of the whole run by status, warm-up included."""

    completed: int = 0
    rejected: int = 0
    failed: int = 0
    unfinished: int = 0

    @property
    def offered(self) -> int:
        return self.completed + self.rejected + self.failed + self.unfinished


def build_summary(
    deployment: Deployment,
    facts: RunFacts,
    totals: Totals,
    tiers: TierStatistics,
    tenants: TenantStatistics,
    tenant_tier: Ints,
    retries: int,
    warmup_s: float,
) -> dict[str, Any]:
    """The summary as nested dicts of plain values; None where there is no figure (never NaN).

    `requests` counts the whole run, and `clients.retries` how often clients asked again in it after
    they had been turned away; `throughput`, `latency` and `tiers` count requests that
    arrived after the warm-up, over the time after it. Tokens of throughput are those of completed
    requests; `base_model_token_share` is, of the output tokens of those that asked for an adapter,
    what the base model gave in its place.
    """
    window_s = max(facts.span_s - warmup_s, 0.0)
    output_tokens = int(tenants.output_tokens.sum())
    summary = {
        "name": deployment.scenario.name,
        "requests": {"offered": totals.offered, **asdict(totals)},
        "clients": {"retries": retries},
        "throughput": {
            "requests_per_s": _ratio(tiers.counts["completed"].sum(), window_s),
            "input_tokens_per_s": _ratio(tiers.prompt_tokens.sum(), window_s),
            "output_tokens_per_s": _ratio(tiers.output_tokens.sum(), window_s),
        },
        "latency": {metric: _figures(tiers.overall(metric)) for metric in METRICS},
        "adapters": {
            "hit_ratio": _ratio(facts.adapters.hits, facts.adapters.lookups),
            **asdict(facts.adapters),
            "base_model_token_share": _ratio(
                tiers.fallback_tokens.sum(), tiers.adapter_tokens.sum()
            ),
        },
        "memory": _memory(facts),
        "prefix_cache": {
            "hit_ratio": _ratio(facts.prefix.hit_tokens, facts.prefix.lookup_tokens),
            **asdict(facts.prefix),
        },
        "batch": {
            **asdict(facts.batch),
            "mean_step_s": _ratio(facts.batch.busy_s, facts.batch.steps),
            "busy_ratio": _ratio(facts.batch.busy_s, facts.span_s * max(len(facts.memory), 1)),
            "max_num_seqs": deployment.scenario.engine.max_num_seqs,
            "preemptions": facts.preemptions,
        },
        "tiers": {
            name: _tier(deployment.tiers[index], tiers, index, window_s)
            for index, name in enumerate(deployment.tier_names)
        },
        "fairness": fairness(tenants, deployment.tenants, tenant_tier, deployment.tier_names),
        "cost": _cost(facts, totals, int(tenants.prompt_tokens.sum()), output_tokens),
        "simulation": _simulation(deployment, facts, totals, tiers, tenants, warmup_s),
    }
    return _plain(summary)  # type: ignore[no-any-return]


def fleet_usd(facts: RunFacts) -> float:
    """What the fleet costs over the run, from its first to its last second."""
    return _usd_per_hour(facts) * facts.span_s / 3600


def to_json(summary: Mapping[str, Any]) -> str:
    """The bytes of `summary.json`: keys in their order, floats by `repr`."""
    return json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _usd_per_hour(facts: RunFacts) -> float:
    return math.fsum(pool.gpus * pool.usd_per_gpu_hour for pool in facts.fleet)


def _figures(distribution: Distribution) -> dict[str, float]:
    return {
        "mean": distribution.mean,
        **{name: distribution.quantile(q) for name, q in PERCENTILES.items()},
    }


def _memory(facts: RunFacts) -> dict[str, Any]:
    """Sums over replicas. A peak's sum is of each replica's own peak, wherever it lay in time."""
    replicas = [asdict(memory) for memory in facts.memory]
    summed = {
        key: sum(replica[key] for replica in replicas)
        for key in (replicas[0] if replicas else {})
        if key != "page_bytes"
    }
    return {
        "page_bytes": facts.memory[0].page_bytes if facts.memory else None,
        **summed,
        "replicas": replicas,
    }


def _tier(asked: Tier, tiers: TierStatistics, tier: int, window_s: float) -> dict[str, Any]:
    """A tier's figures. Judged is what ended, and unfinished requests that are already overdue.

    Availability and attainment are shares of the judged, and None where those are less than half
    of the requests. The p99 of a promise counts overdue requests as infinitely late (None, and
    missed, once it lies among them); the p99 under `latency` is that of completed requests.
    `error_budget` is by bound, and None without a promise: availability lets the share fail that
    it does not promise, a p99 lets 1 % of the requests it is held against be late.
    """
    counts = {status: int(tiers.counts[status][tier]) for status in STATUSES}
    offered = sum(counts.values())
    overdue = {bound: int(late[tier]) for bound, late in tiers.overdue.items()}
    judged = offered - counts["unfinished"] + overdue["availability"]
    if 2 * judged < offered:
        judged = 0
    measured: dict[str, float | None] = {
        bound: _p99(tiers.distribution(metric, tier), overdue.get(bound, 0))
        for bound, metric in _PROMISED_METRICS.items()
    }
    measured["availability"] = _ratio(counts["completed"], judged)
    mostly_completed = 2 * counts["completed"] >= offered
    promised = {
        bound: value for bound, value in asked.sla.model_dump().items() if value is not None
    }
    met = {
        bound: _met(bound, value, measured[bound], mostly_completed)
        for bound, value in promised.items()
    }
    broken = {"availability": (judged - counts["completed"], judged)}
    for bound, metric in _PROMISED_METRICS.items():
        late = overdue.get(bound, 0)
        size = tiers.distribution(metric, tier).size
        broken[bound] = int(tiers.late[bound][tier]) + late, size + late
    kept = int(tiers.kept[tier])
    return {
        "weight": asked.weight,
        "price_usd_month": asked.price_usd_month,
        "requests": {"offered": offered, **counts},
        **{metric: _figures(tiers.distribution(metric, tier)) for metric in METRICS},
        "sla": {
            bound: {
                "promised": value,
                "measured": measured[bound],
                "met": met[bound],
            }
            for bound, value in promised.items()
        },
        "error_budget": {
            bound: error_budget(
                1 - value if bound == "availability" else _LATE_SHARE,
                *broken[bound],
                told=met[bound] is not None,
            )
            for bound, value in promised.items()
        }
        or None,
        "sla_attainment": _ratio(kept, judged) if promised else None,
        "goodput_rps": _ratio(kept, window_s),
        "output_tokens_per_s": _ratio(tiers.output_tokens[tier], window_s),
        "base_model_token_share": _ratio(tiers.fallback_tokens[tier], tiers.adapter_tokens[tier]),
    }


def _p99(distribution: Distribution, overdue: int) -> float:
    """The 99th percentile, with so many more requests that are infinitely late."""
    rank, size = 0.99 * (distribution.size + overdue), distribution.size
    return math.inf if overdue and rank > size else distribution.quantile(rank / max(size, 1))


def _met(
    bound: str, promised: float, measured: float | None, mostly_completed: bool
) -> bool | None:
    """None: nothing was measured, or it holds only for the less than half that completed."""
    if measured is None or math.isnan(measured):
        return None
    met = measured >= promised if bound == "availability" else measured <= promised
    return None if met and not mostly_completed else met


def _cost(
    facts: RunFacts, totals: Totals, prompt_tokens: int, output_tokens: int
) -> dict[str, Any]:
    """`gpu_usd_per_hour` is the whole fleet's; tokens are all those processed in the run."""
    usd_per_hour = _usd_per_hour(facts)
    usd = fleet_usd(facts)
    return {
        "gpus": sum(pool.gpus for pool in facts.fleet),
        "gpu_usd_per_hour": usd_per_hour,
        "fleet_usd": usd,
        "fleet_usd_per_month": usd_per_hour * _MONTH_H,
        "usd_per_million_tokens": _ratio(usd * 1e6, prompt_tokens + output_tokens),
        "usd_per_million_output_tokens": _ratio(usd * 1e6, output_tokens),
        "usd_per_thousand_requests": _ratio(usd * 1e3, totals.completed),
    }


def _simulation(
    deployment: Deployment,
    facts: RunFacts,
    totals: Totals,
    tiers: TierStatistics,
    tenants: TenantStatistics,
    warmup_s: float,
) -> dict[str, Any]:
    from simlora import __version__

    statistics = "exact" if tiers.exact else f"quantiles within {RELATIVE_ERROR:.1%}"
    if tenants.relative_error:
        statistics += f", of a tenant within {tenants.relative_error:.1%}"
    return {
        "version": __version__,
        "seed": deployment.scenario.seed,
        "model": deployment.model.name,
        "weights": deployment.scenario.model.weights,
        "fleet": [asdict(pool) for pool in facts.fleet],
        "timing": asdict(facts.timing),
        "span_s": facts.span_s,
        "warmup_s": warmup_s,
        "events": facts.events,
        "wall_s": facts.wall_s,
        "requests_per_wall_s": _ratio(totals.offered, facts.wall_s),
        "statistics": statistics,
        "interrupted": facts.interrupted,
    }


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _plain(value: Any) -> Any:
    """NaN and infinity become None, mappings dicts, sequences lists."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
