"""Who was turned away or failed, and why: a table of tiers and reasons."""

from __future__ import annotations

from typing import Any

from simlora.report.words import share

Cause = tuple[str, str]  # status, reason


def causes(summary: dict[str, Any]) -> list[Cause]:
    """The reasons for which requests of any tier were rejected, then those for which they failed;
    empty for a run of an older version."""
    found = {
        (status, reason)
        for tier in summary["tiers"].values()
        for status, counts in tier["requests"].get("reasons", {}).items()
        for reason in counts
    }
    return sorted(found, key=lambda cause: (cause[0] != "rejected", cause[1]))


def reason_words(reason: str) -> str:
    """`rate limit` for `rate_limit`."""
    return reason.replace("_", " ")


def refusal_heads(summary: dict[str, Any]) -> list[str]:
    """The heads of the table: lines are broken after the status."""
    return [
        "tier",
        *(f"{status}\n{reason_words(reason)}" for status, reason in causes(summary)),
        "of its\nrequests",
    ]


def refusal_rows(summary: dict[str, Any]) -> list[list[str]]:
    """One row for each tier that asked for something; empty if nothing was turned away or
    failed."""
    columns = causes(summary)
    return [
        [name, *(f"{_count(tier, cause):,}" for cause in columns), share(_refused(tier))]
        for name, tier in summary["tiers"].items()
        if columns and tier["requests"]["offered"]
    ]


def _count(tier: dict[str, Any], cause: Cause) -> int:
    status, reason = cause
    return int(tier["requests"]["reasons"][status].get(reason, 0))


def _refused(tier: dict[str, Any]) -> float:
    requests = tier["requests"]
    return float((requests["rejected"] + requests["failed"]) / requests["offered"])
