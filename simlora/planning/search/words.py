"""What a plan says, in sentences."""

from __future__ import annotations

from collections import Counter

from simlora.planning.plan import Plan
from simlora.planning.search.candidates import DOES_NOT_FIT, TOO_LITTLE, TOO_SLOW, RuledOut
from simlora.planning.search.peak import Peak
from simlora.planning.search.promises import Promise
from simlora.planning.search.trial import Outcome


def confidence(plan: Plan) -> str:
    """What the answer rests on."""
    if plan.scenario.workload.trace is not None:
        return (
            f"On the trace, every promise was kept, and with {plan.confidence:.0%} confidence no "
            "larger share of such requests breaks it than it allows (Clopper-Pearson; the trace's "
            "requests are taken to be independent, as there is but one trace, and it chose "
            "the fleet too)."
        )
    search = f"the scenario's seed {plan.scenario.seed} and seeds {_span(plan.seeds)}"
    if plan.fresh_seeds is None:
        return (
            f"Every promise was kept in the runs with {search}, but these chose the fleet too, and "
            "no further ones have confirmed it."
        )
    return (
        f"It was chosen by runs with {search}, and confirmed by {len(plan.fresh_seeds)} further "
        f"runs (seeds {_span(plan.fresh_seeds)}) that had no part in choosing the fleet: every "
        f"promise was kept in each, and they show with {plan.confidence:.0%} confidence, promise by"
        " promise, that the mean share of requests that break it is within what it allows "
        "(one-sided, the larger of Student's t over runs and Clopper-Pearson over requests)."
        f"{_refuted(plan)}"
    )


def _span(seeds: range) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def _refuted(plan: Plan) -> str:
    """What was chosen before, and did not do."""
    if not plan.refuted:
        return ""
    told = "; ".join(f"{one.name} ({one.why})" for one in plan.refuted)
    return (
        f" Chosen before it, but not confirmed on fresh seeds: {told}. The confidence is that of "
        "each fleet's own confirmation, not of all attempts together."
    )


def effort(plan: Plan) -> str:
    """How much was searched, and how."""
    most, ruled = (
        plan.scenario.plan.max_replicas,
        Counter(one.reason for one in plan.candidates.ruled_out),
    )
    parts = [f"{ruled[reason]} {told}" for reason, told in _RULED.items() if ruled[reason]]
    without = f"; without a run, {', '.join(parts)}" if parts else ""
    replicas = "replicas" if most > 1 else "replica"
    return (
        f"{plan.space:,} configurations with up to {most} {replicas} each{without}. "
        f"{plan.searched.runs:,} runs of {plan.searched.requests:,} requests found the fleet, "
        f"{plan.counted.runs:,} runs of {plan.counted.requests:,} requests in all."
    )


_RULED = {
    DOES_NOT_FIT: "did not fit into memory",
    TOO_SLOW: "were too slow even without load",
    TOO_LITTLE: "would need more replicas",
}


def infeasible(plan: Plan) -> list[str]:
    """Why there is no fleet, in sentences."""
    out = plan.candidates.ruled_out
    told = [f"No fleet of the {plan.space:,} configurations meets every promise."]
    told += [f"{one.name} seemed to, but on fresh seeds: {one.why}." for one in plan.refuted]
    slow = [one for one in out if one.floor is not None]
    if slow and not plan.candidates.left:
        best = min(slow, key=_distance)
        told.append(f"The closest is bounded like this: {best.why}.")
    elif plan.closest is not None:
        name, outcome = plan.closest
        told.append(f"The closest, {name}, misses {missed(outcome, plan)}.")
    reasons = Counter(one.reason for one in out)
    for reason in (TOO_LITTLE, DOES_NOT_FIT):
        if reasons[reason]:
            first = next(one for one in out if one.reason == reason)
            told.append(f"{first.configuration.name}: {first.why}.")
    return told


def _distance(one: RuledOut) -> float:
    assert one.floor is not None
    return one.floor.ratio


def missed(outcome: Outcome, plan: Plan) -> str:
    """What a run that was not ended early missed."""
    parts = [
        f"{promise.name} {_measured(promise, kept.measured)} against "
        f"{promise.figure(promise.value)} promised"
        for promise, kept in zip(plan.promises, outcome.kept, strict=True)
        if not kept.met and kept.judged
    ]
    return ", ".join(parts) or "nothing with this seed, but shows too little"


def _measured(promise: Promise, value: float | None) -> str:
    return "without end" if value is None else promise.figure(value)


def over_budget(plan: Plan) -> list[str]:
    """By how much the cheapest fleet is above the budget, and what the budget reaches."""
    assert plan.max_cost_usd is not None
    told = []
    if plan.best is not None:
        more = plan.best.usd_per_month - plan.max_cost_usd
        told.append(
            f"The cheapest fleet that meets every promise costs ${plan.best.usd_per_month:,.0f} a "
            f"month, ${more:,.0f} above the ${plan.max_cost_usd:,.0f} allowed."
        )
    best = plan.affordable
    if best is None:
        return [*told, f"Nothing that might do costs ${plan.max_cost_usd:,.0f} or less."]
    kept = ", ".join(f"{share:.2%} of {tier}" for tier, share in best.attainment.items())
    told.append(
        f"The best for the money is {best.name} at ${best.usd_per_month:,.0f}: with seed "
        f"{best.outcome.seed} it keeps {kept} within every bound."
    )
    return told


def headroom(peak: Peak) -> list[str]:
    """How much more load a fleet holds, and what breaks beyond."""
    if not peak.holds:
        told = ["It holds no load that could be shown, down to a 64th of the scenario's."]
        return told if peak.first is None else [*told, f"With all of it, {peak.first.sentence}."]
    rate = "" if peak.requests_per_s is None else f" ({peak.requests_per_s:.3g} requests/s)"
    if peak.breaks is None:
        return [f"It holds {peak.holds:g} times the load{rate}, the most that was tried."]
    told = [
        f"It holds {peak.holds:.3g} times the load{rate}, and no longer {peak.breaks:.3g} times."
    ]
    if peak.first is not None:
        told.append(f"Beyond, {peak.first.sentence}.")
    return told


def regrown(plan: Plan) -> list[str]:
    """What each growth takes."""
    told = []
    for one in plan.regrown:
        if one.best is None:
            told.append(f"{one.growth.name}: no fleet of the space meets every promise.")
            continue
        factor = ""
        if plan.best is not None:
            factor = f", {one.best.usd_per_month / plan.best.usd_per_month:.2f} times as much"
        told.append(
            f"{one.growth.name}: {one.best.name} at ${one.best.usd_per_month:,.0f} a month{factor}."
        )
    return told
