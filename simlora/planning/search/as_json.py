"""A plan as plain values, for `--json` and `plan.json`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from simlora.planning.plan import Plan
from simlora.planning.search import words
from simlora.planning.search.branch import Found
from simlora.planning.search.flags import servers
from simlora.planning.search.peak import Peak
from simlora.planning.search.trials import Confirmation


def plan_json(plan: Plan) -> dict[str, Any]:
    """Everything that a plan found."""
    told: dict[str, Any] = {
        "scenario": plan.scenario.name,
        "confidence": plan.confidence,
        "seeds": {
            "search": sorted({plan.scenario.seed, *plan.seeds}),
            "confirmation": list(plan.fresh_seeds or ()),
        },
        "max_cost_usd_per_month": plan.max_cost_usd,
        "within_budget": plan.within_budget,
        "interrupted": plan.interrupted,
        "monotone": plan.monotone,
        "search": {
            "configurations": plan.space,
            "most_replicas": plan.scenario.plan.max_replicas,
            "ruled_out": [
                {"configuration": one.configuration.name, "reason": one.reason, "why": one.why}
                for one in plan.candidates.ruled_out
            ],
            "runs": plan.searched.runs,
            "requests": plan.searched.requests,
            "all_runs": plan.counted.runs,
            "all_requests": plan.counted.requests,
        },
        "refuted": [asdict(one) for one in plan.refuted],
        "best": None if plan.best is None else _found(plan.best),
        "by_gpu": [_found(one) for one in plan.by_gpu],
        "pareto_front": [
            {"fleet": one.name, "usd_per_month": one.usd_per_month, "ttft_p99_s": one.ttft_p99_s}
            for one in plan.front
        ],
        "affordable": None,
        "infeasible": words.infeasible(plan) if plan.best is None else [],
        "headroom": None if plan.peak is None else peak_json(plan.peak),
        "what_if": [
            {
                "growth": asdict(one.growth),
                "best": None if one.best is None else _found(one.best),
            }
            for one in plan.regrown
        ],
        "servers": [],
    }
    if plan.affordable is not None:
        best = plan.affordable
        told["affordable"] = {
            "fleet": best.name,
            "usd_per_month": best.usd_per_month,
            "sla_attainment": best.attainment,
        }
    if plan.best is not None:
        told["servers"] = [asdict(server) for server in servers(plan.best.scenario)]
    return told


def peak_json(peak: Peak) -> dict[str, Any]:
    """What load a fleet holds."""
    return {
        "holds_times": peak.holds,
        "breaks_times": peak.breaks,
        "requests_per_s": peak.requests_per_s,
        "evidence": [] if peak.confirmation is None else _evidence(peak.confirmation),
        "breaks_first": None
        if peak.first is None
        else {
            "tier": peak.first.promise.tier_name,
            "bound": peak.first.promise.bound,
            "promised": peak.first.promise.value,
            "measured": peak.first.kept.measured,
            "phase": peak.first.phase,
            "before_s": peak.first.before_s,
            "after_s": peak.first.after_s,
            "why": peak.first.pressure,
        },
    }


def _found(found: Found) -> dict[str, Any]:
    chosen = asdict(found.candidate.configuration)
    admission = found.candidate.configuration.admission
    return {
        "fleet": found.name,
        **chosen,
        "admission": None if admission is None else dict(admission),
        "replicas": found.replicas,
        "gpus": found.replicas * found.candidate.configuration.tensor_parallel,
        "usd_per_month": found.usd_per_month,
        "ttft_p99_s": found.ttft_p99_s if math.isfinite(found.ttft_p99_s) else None,
        "bound_used": found.used,
        "evidence": _evidence(found.confirmation),
    }


def _evidence(confirmation: Confirmation) -> list[dict[str, Any]]:
    return [
        {
            "tier": one.promise.tier_name,
            "bound": one.promise.bound,
            "promised": one.promise.value,
            "measured_mean": one.measured,
            "measured_worst": one.worst,
            "allowed_share": one.promise.allowed,
            "broken_share": one.broken_share,
            "broken_share_upper": one.upper,
            "requests": one.requests,
        }
        for one in confirmation.evidence
    ]
