"""What holds a run back, told from its summary."""

from __future__ import annotations

from typing import Any

from simlora.report.words import duration, share


def what_limits(summary: dict[str, Any]) -> str:
    """One paragraph: the tightest resource, the evidence, and what could be changed."""
    latency, batch = summary["latency"], summary["batch"]
    requests, memory = summary["requests"], summary["memory"]
    if not requests["completed"] or latency["e2e_s"]["mean"] is None:
        return "No request completed, so there is nothing to tell about what limits this fleet."

    ttft = latency["ttft_s"]["mean"] or 1e-12
    queue = latency["queue_s"]["mean"] / ttft
    adapter = latency["adapter_wait_s"]["mean"] / ttft
    busy = batch["busy_ratio"] or 0.0
    taken = memory["kv_pages_peak"] + memory["prefix_pages_peak"] + memory["adapter_pages_peak"]
    peak = min(1.0, taken / max(memory["pool_pages"], 1))
    facts = (
        f"The replicas computed {share(busy)} of the time, with {batch['mean_running']:.3g} "
        f"requests running on average (limit {batch['max_num_seqs']:,} each); the page pools were "
        f"filled to {share(peak)} at their peaks; of a mean time to first token of "
        f"{duration(ttft)}, {share(queue)} was queueing and {share(adapter)} waiting for adapters."
    )
    return f"{_verdict(summary, queue, adapter, busy)} {facts}{_losses(requests)}"


def _verdict(summary: dict[str, Any], queue: float, adapter: float, busy: float) -> str:
    batch, completed = summary["batch"], summary["requests"]["completed"]
    if batch["preemptions"] > 0.005 * completed:
        return (
            f"GPU memory for KV is the limit: {batch['preemptions']:,} preemptions threw work "
            "away. More memory, fewer adapters held hot or a lower max_num_seqs would help."
        )
    if adapter > 0.3 and adapter >= queue:
        return (
            "Loading adapters is the limit: requests wait for theirs longer than for anything "
            "else. More hot or warm capacity, a prefetch or routing by adapter would help."
        )
    if queue > 0.3 and batch["mean_running"] > 0.9 * batch["max_num_seqs"]:
        return "The batch is the limit: max_num_seqs is used up while requests queue."
    if queue > 0.3 and busy > 0.85:
        return (
            "Compute is the limit: requests queue while the replicas hardly ever rest. "
            "More or faster replicas would help, more memory would not."
        )
    if queue > 0.3:
        return (
            "Queueing dominates although the replicas are not always busy: bursts, memory or the "
            "routing hold requests back at times; the figures over time show when."
        )
    if busy < 0.4:
        return "Nothing limits this fleet: it has capacity to spare at this load."
    return "No single resource stands out: the fleet carries this load without much queueing."


def _losses(requests: dict[str, int]) -> str:
    lost = [
        f"{requests[status]:,} {status}"
        for status in ("rejected", "failed", "unfinished")
        if requests[status]
    ]
    if not lost:
        return ""
    return f" Of {requests['offered']:,} requests, {' and '.join(lost)}."
