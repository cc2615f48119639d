"""Fairness between tenants and error budgets, in words."""

from __future__ import annotations

import math
from typing import Any

from simlora.report.words import counted, duration, share

_TIMES = 9.995  # from here on, a ratio is told in times and no longer in percent


def jain(value: float | None) -> str:
    """Jain's index to three places; never rounded up to 1."""
    if value is None:
        return "—"
    return "1" if value > 1 - 1e-9 else f"{math.floor(1000 * value) / 1000:.3f}"


def indexes(fairness: dict[str, Any] | None) -> str:
    """The indexes of all tenants, or nothing where there are not two tenants to be unlike."""
    if not fairness or fairness.get("tenants", 0) < 2:
        return ""
    service, latency = fairness.get("service_jain"), fairness.get("latency_jain")
    return f"Jain's index {jain(service)} of service, {jain(latency)} of latency"


def longest_wait(fairness: dict[str, Any] | None) -> str:
    """How long the longest wait was and whose, or nothing where nobody waited."""
    longest_s = (fairness or {}).get("longest_wait_s")
    if not fairness or not longest_s:
        return ""
    whose = fairness.get("longest_wait_tenant")
    return duration(longest_s) + (f", of {whose}" if whose else "")


def fairness_rows(fairness: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each tier that asked for something, and one for all if they are several: name,
    tenants, the two indexes, and the longest wait with whose it was."""
    tiers = {n: tier for n, tier in fairness.get("tiers", {}).items() if tier.get("tenants")}
    if len(tiers) > 1:
        tiers["all"] = fairness
    return [
        (
            name,
            f"{tier.get('tenants', 0):,}",
            jain(tier.get("service_jain")),
            jain(tier.get("latency_jain")),
            longest_wait(tier) or duration(tier.get("longest_wait_s")),
        )
        for name, tier in tiers.items()
    ]


def budget(tier: dict[str, Any], bound: str) -> str:
    """How much of a promise's error budget is spent: `12 % spent`, `spent 60 times`; nothing where
    that is not known."""
    entry = ((tier.get("error_budget") or {}).get(bound)) or {}
    ratio, spent_share = entry.get("spent_ratio"), entry.get("spent_share")
    if spent_share is None:
        return ""
    if ratio is None:
        return "none allowed"
    return f"spent {ratio:,.0f} times" if ratio >= _TIMES else f"{share(ratio)} spent"


def budget_left(tier: dict[str, Any], bound: str) -> list[str]:
    """The same, and the requests that are left of it or went beyond it; empty if not known."""
    told = budget(tier, bound)
    left = ((tier.get("error_budget") or {}).get(bound) or {}).get("requests_left")
    if not told or left is None:
        return [told] if told else []
    return [told, f"{counted(abs(left), 'request')} {'left' if left >= 0 else 'too many'}"]
