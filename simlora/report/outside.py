"""Runs that were measured at the client of somebody's server, which sees nothing but answers."""

from __future__ import annotations

from typing import Any

from simlora.report.fairness_words import budget
from simlora.report.gauges import backlog
from simlora.report.words import counted, duration, lost, promise, share
from simlora.results.result import Result

_OVERLOADED = (
    "The server is overloaded: the number of requests without a token grew for as long as requests "
    "were sent, to {:,}. The latencies say little, for they grow with the length of the run."
)
_UNSEEN = (
    "Where the rest of it goes cannot be told from outside: the server's queues, batches, memory "
    "and adapters are its own."
)


def what_was_seen(result: Result) -> list[str]:
    """Paragraphs: whether the server kept up, what became of requests, and which promises were
    missed."""
    summary = result.summary
    requests, latency = summary["requests"], summary["latency"]
    if not requests["completed"] or latency["e2e_s"]["mean"] is None:
        return ["No request completed, so there is nothing to tell about the server's times."]
    grown = backlog(result)
    told = [_OVERLOADED.format(grown)] if grown else []
    told.append(f"{_first_token(summary)} {_UNSEEN}")
    if lost(requests):
        told.append(
            f"Of {requests['offered']:,} requests, {lost(requests)}. "
            "Latencies are those of completed requests."
        )
    told += [_missed(name, tier) for name, tier in summary["tiers"].items()]
    return [paragraph for paragraph in told if paragraph]


def _first_token(summary: dict[str, Any]) -> str:
    latency, retries = summary["latency"], summary.get("clients", {}).get("retries")
    ttft_s, asking_s = latency["ttft_s"]["mean"], latency["queue_s"]["mean"]
    sentence = f"The first token took {duration(ttft_s)} on average"
    if not retries:
        return f"{sentence}."
    part = share(asking_s / ttft_s) if ttft_s else "none"
    return (
        f"{sentence}, {part} of it until the server took the request: clients were turned away and "
        f"asked again {counted(retries, 'time')}."
    )


def _missed(name: str, tier: dict[str, Any]) -> str:
    missed = {bound: entry for bound, entry in tier["sla"].items() if entry["met"] is False}
    told = []
    for bound, entry in missed.items():
        asked, measured, _ = promise(bound, entry)
        spent = budget(tier, bound)
        told.append(f"{asked} (measured {measured}{f', error budget {spent}' if spent else ''})")
    return f"Tier {name} misses {' and '.join(told)}." if told else ""
