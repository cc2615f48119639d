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
from simlora.results.reasons import Reasons
from simlora.results.schema import RunFacts
from simlora.results.script import script
from simlora.results.statistics import RELATIVE_ERROR, Distribution
from simlora.results.tenants import TenantStatistics
from simlora.results.tiers import METRICS, PERCENTILES, STATUSES, TierStatistics
from simlora.results.versions import VersionStatistics
from simlora.scenario.eligibility import pool_names

if TYPE_CHECKING:
    from simlora.scenario.deployment import Deployment
    from simlora.scenario.schema import Tier

MONTH_H = 720.0  # hours that a price of a month is for
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
    reasons: Reasons,
    tenants: TenantStatistics,
    versions: VersionStatistics,
    tenant_tier: Ints,
    retries: int,
    replicas_up: Ints,
    warmup_s: float,
) -> dict[str, Any]:
    """The summary as nested dicts of plain values; None where there is no figure (never NaN).

    `requests` counts the whole run, and `clients.retries` how often clients asked again in it after
    they had been turned away; `throughput`, `latency` and `tiers` count requests that
    arrived after the warm-up, over the time after it. Tokens of throughput are those of completed
    requests; `base_model_token_share` is, of the output tokens of those that asked for an adapter,
    what the base model gave in its place.

    Where there were any, `events` and `bursts` are the scenario's; `replicas_up`, at the instants
    of the timeline, is told where it changed.
    """
    window_s = max(facts.span_s - warmup_s, 0.0)
    output_tokens = int(tenants.output_tokens.sum())
    summary: dict[str, Any] = {
        "name": deployment.scenario.name,
        "requests": {"offered": totals.offered, **asdict(totals), "reasons": reasons.whole()},
        "clients": {"retries": retries},
        **script(deployment.scenario),
        **_replicas_up(replicas_up),
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
            "busy_ratio": _ratio(facts.batch.busy_s, _replica_s(deployment, facts)),
            "max_num_seqs": deployment.scenario.engine.max_num_seqs,
            "preemptions": facts.preemptions,
        },
        "tiers": {
            name: _tier(deployment.tiers[index], tiers, reasons, index, window_s)
            for index, name in enumerate(deployment.tier_names)
        },
        "fairness": fairness(tenants, deployment.tenants, tenant_tier, deployment.tier_names),
        **({"versions": versions.summary(facts.versions)} if versions.any else {}),
        "cost": _cost(deployment, facts, totals, int(tenants.prompt_tokens.sum()), output_tokens),
        "simulation": _simulation(deployment, facts, totals, tiers, tenants, warmup_s),
    }
    return _plain(summary)  # type: ignore[no-any-return]


def fleet_usd(facts: RunFacts) -> float:
    """What the fleet costs over the run: its replicas for as long as they were rented."""
    return math.fsum(
        pool.tensor_parallel * pool.usd_per_gpu_hour * pool.replica_s / 3600 for pool in facts.fleet
    )


def to_json(summary: Mapping[str, Any]) -> str:
    """The bytes of `summary.json`: keys in their order, floats by `repr`."""
    return json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _mean_replicas(deployment: Deployment, facts: RunFacts) -> list[float]:
    """Replicas that were rented on average, by pool."""
    return [
        pool.replicas if asked.autoscale is None else pool.replica_s / max(facts.span_s, 1e-12)
        for pool, asked in zip(facts.fleet, deployment.scenario.fleet, strict=True)
    ]


def _replica_s(deployment: Deployment, facts: RunFacts) -> float:
    """Seconds that the replicas of all pools were rented, added up."""
    return facts.span_s * math.fsum(_mean_replicas(deployment, facts))


def _replicas_up(up: Ints) -> dict[str, dict[str, float]]:
    if not len(up) or up.min() == up.max():
        return {}
    figures = {"mean": float(up.mean()), "least": int(up.min()), "most": int(up.max())}
    return {"replicas_up": figures}


def _figures(distribution: Distribution) -> dict[str, float]:
    return {
        "mean": distribution.mean,
        **{name: distribution.quantile(q) for name, q in PERCENTILES.items()},
    }


def _memory(facts: RunFacts) -> dict[str, Any]:
    """Sums over replicas. A peak's sum is of each replica's own peak, wherever it lay in time.
    `page_bytes` is None where replicas of different models have pages of different sizes."""
    replicas = [asdict(memory) for memory in facts.memory]
    summed = {
        key: sum(replica[key] for replica in replicas)
        for key in (replicas[0] if replicas else {})
        if key != "page_bytes"
    }
    sizes = {memory.page_bytes for memory in facts.memory}
    return {
        "page_bytes": sizes.pop() if len(sizes) == 1 else None,
        **summed,
        "replicas": replicas,
    }


def _tier(
    asked: Tier, tiers: TierStatistics, reasons: Reasons, tier: int, window_s: float
) -> dict[str, Any]:
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
        "requests": {"offered": offered, **counts, "reasons": reasons.of_tier(tier)},
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
    deployment: Deployment,
    facts: RunFacts,
    totals: Totals,
    prompt_tokens: int,
    output_tokens: int,
) -> dict[str, Any]:
    """`gpus` and `gpu_usd_per_hour` are of the whole fleet, all replicas up; `replica_hours` and
    `fleet_usd` of what was rented in the run; a month costs what the replicas do that were rented
    on average. Tokens are all those processed in the run."""
    usd = fleet_usd(facts)
    rented_usd_per_hour = math.fsum(
        replicas * pool.tensor_parallel * pool.usd_per_gpu_hour
        for replicas, pool in zip(_mean_replicas(deployment, facts), facts.fleet, strict=True)
    )
    return {
        "gpus": sum(pool.gpus for pool in facts.fleet),
        "gpu_usd_per_hour": math.fsum(pool.gpus * pool.usd_per_gpu_hour for pool in facts.fleet),
        "replica_hours": _replica_s(deployment, facts) / 3600,
        "fleet_usd": usd,
        "fleet_usd_per_month": rented_usd_per_hour * MONTH_H,
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
        "fleet": _fleet(deployment, facts),
        "timing": asdict(facts.timing),
        "span_s": facts.span_s,
        "warmup_s": warmup_s,
        "events": facts.events,
        "wall_s": facts.wall_s,
        "requests_per_wall_s": _ratio(totals.offered, facts.wall_s),
        "statistics": statistics,
        "interrupted": facts.interrupted,
    }


def _fleet(deployment: Deployment, facts: RunFacts) -> list[dict[str, Any]]:
    """One entry a pool."""
    return [
        {
            "name": name,
            **asdict(pool),
            "model": model.name,
            "weights": weights,
            "region": asked.region,
            **({"min_replicas": asked.autoscale.min} if asked.autoscale is not None else {}),
        }
        for name, pool, model, weights, asked in zip(
            pool_names(deployment.scenario),
            facts.fleet,
            deployment.models,
            deployment.weights,
            deployment.scenario.fleet,
            strict=True,
        )
    ]


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
