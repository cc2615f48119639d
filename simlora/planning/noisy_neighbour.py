"""A noisy neighbour: a scenario without bursts, with the burst of one tenant, and with what
protects the others from it."""

from __future__ import annotations

from typing import Any

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.problems import did_you_mean, given
from simlora.scenario.schema import Scenario
from simlora.scenario.traffic import DEFAULT_DURATION_S
from simlora.workload.popularity import targets_of

UNCHANGED = "as in the scenario"
FAIR_QUEUEING = "weighted fair queueing"
TOKEN_BUCKETS = "token buckets"
BOTH = "both"
PROTECTIONS = (UNCHANGED, FAIR_QUEUEING, TOKEN_BUCKETS, BOTH)

# What each tenant may ask for; requests beyond it are delayed.
BUCKET_RPS = 1.0
BUCKET_BURST = 5  # requests at once

# Of the time in which requests arrive: there is a calm before the burst, and one to recover in.
_BURST_BEGINS, _BURST_LASTS = 0.4, 0.1
_SHORTEST_S = 0.001


def calm(scenario: Scenario, protection: str = UNCHANGED) -> Scenario:
    """The scenario on independent arrivals, without bursts. Raises UserError as `protected`."""
    return protected(independent(scenario), protection)


def noisy(scenario: Scenario, tenant: str, requests: int, protection: str = UNCHANGED) -> Scenario:
    """`calm` with a burst: so many `requests` on top of the tenant's own, from 40 % of the time in
    which requests arrive on, within a tenth of it.

    That time is `workload.duration_s` in seconds, or how long `workload.max_requests` take to
    arrive on average, the burst not counted, if that is less.

    Raises:
        UserError: there is no such tenant, the load is a trace, or whatever `protected` raises.
    """
    if scenario.workload.trace is not None:
        raise UserError("workload.trace: a trace has its own bursts, and no other can be added")
    length_s = _arrivals_s(scenario)
    burst = {
        "tenant": tenant,
        "start_s": round(_BURST_BEGINS * length_s, 3),
        "duration_s": round(max(_BURST_LASTS * length_s, _SHORTEST_S), 3),
        "requests": requests,
    }
    changes = {"workload.arrivals": {"bursts": [burst]}}
    return protected(independent(scenario).with_overrides(changes), protection)


def protected(scenario: Scenario, protection: str) -> Scenario:
    """The scenario with one of `PROTECTIONS`: weighted fair queueing at the gateway, a token bucket
    for each tenant of every tier (`BUCKET_RPS` requests a second, `BUCKET_BURST` at once, delayed
    beyond), or both, in place of its own.

    Raises:
        UserError: there is no such protection, or the scenario cannot have it.
    """
    if protection not in PROTECTIONS:
        near = did_you_mean(protection, PROTECTIONS)
        raise UserError(f"protection: no protection {given(protection)}; {near}")
    changes: dict[str, Any] = {}
    if protection in (FAIR_QUEUEING, BOTH):
        changes["gateway.fairness.policy"] = "wfq"
    if protection in (TOKEN_BUCKETS, BOTH):
        tiers = dict.fromkeys([*scenario.tiers, *(group.tier for group in scenario.tenants)])
        bucket = {"rps": BUCKET_RPS, "burst": BUCKET_BURST, "over_limit": "delay"}
        changes["gateway.rate_limits"] = dict.fromkeys(tiers, bucket)
    return scenario.with_overrides(changes) if changes else scenario


def independent(scenario: Scenario) -> Scenario:
    """The scenario with Poisson arrivals of the same rate in place of its own pattern, so that a
    burst, which lies upon Poisson arrivals, is all that makes a difference. The same object if
    there is nothing to change; a trace has the arrivals that it has."""
    if scenario.workload.trace is not None or scenario.workload.arrivals == "poisson":
        return scenario
    return scenario.with_overrides({"workload.arrivals": "poisson"})


def _arrivals_s(scenario: Scenario) -> float:
    workload = scenario.workload
    if workload.max_requests is None:
        return workload.duration_s or DEFAULT_DURATION_S
    length_s = workload.max_requests / targets_of(expand(scenario)).rate_rps
    return min(length_s, workload.duration_s or length_s)
