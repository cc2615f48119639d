"""What holds a run back, told from its summary, its timeline and its requests."""

from __future__ import annotations

from typing import Any

from simlora.report.asked import Asked, read_asked, told_over_time
from simlora.report.fairness_words import budget
from simlora.report.gauges import Pressure, pressure
from simlora.report.interruptions import preemptions_for_memory
from simlora.report.measured import from_outside
from simlora.report.outside import what_was_seen
from simlora.report.waits import Waits, waits_outside, waits_told
from simlora.report.words import counted, duration, lost, promise, share
from simlora.results.phases import BEFORE_FIRST_TOKEN, PHASE_WORDS
from simlora.results.result import Result

_MANY = 0.3  # of the mean time to first token
_DOING = {phase: PHASE_WORDS[phase].doing for phase in BEFORE_FIRST_TOKEN}
_DOING["adapter_wait_s"] = "waiting for the adapter"  # a request has one


def limits_of(result: Result, asked: Asked | None = None) -> list[str]:
    """`what_limits`, or of a run that a client measured what that could see. `asked`: the requests,
    which are read here if they are needed and not given."""
    if from_outside(result.summary):
        return what_was_seen(result)
    if asked is None and told_over_time(result):
        asked = read_asked(result)
    return what_limits(result, asked)


def what_limits(result: Result, asked: Asked | None = None) -> list[str]:
    """Paragraphs: the verdict, the evidence for it, and which promises were missed and why.
    `asked`: without it, no preemption is put down to the loss of a replica."""
    summary = result.summary
    requests = summary["requests"]
    if not requests["completed"] or summary["latency"]["e2e_s"]["mean"] is None:
        return ["No request completed, so there is nothing to tell about what limits this fleet."]
    found = pressure(result)
    preemptions = summary["batch"]["preemptions"]
    if asked is not None:
        preemptions = preemptions_for_memory(summary, asked)
    if preemptions <= 0.005 * requests["completed"]:
        preemptions = 0
    waits = waits_outside(result)
    paragraphs = [*waits_told(waits), _verdict(summary, found, preemptions, waits)]
    paragraphs.append(_evidence(summary, found))
    if lost(requests):
        paragraphs.append(
            f"Of {requests['offered']:,} requests, {lost(requests)}. "
            "Latencies are those of completed requests."
        )
    paragraphs += [_missed(name, tier) for name, tier in summary["tiers"].items()]
    return [paragraph for paragraph in paragraphs if paragraph]


def _verdict(summary: dict[str, Any], found: Pressure, preemptions: int, waits: Waits) -> str:
    """What holds requests back on replicas; `waits` are those that replicas had no part in."""
    latency = summary["latency"]
    ttft = latency["ttft_s"]["mean"] or 1e-12
    queue_s = max(latency["queue_s"]["mean"] - waits.mean_s, 0.0)
    queue, adapter = queue_s / ttft, latency["adapter_wait_s"]["mean"] / ttft
    # Whoever arrives during a step waits for its end, on an idle fleet too.
    queued = queue > _MANY and queue_s > 3 * (summary["batch"]["mean_step_s"] or 0.0)
    if not found.backlog and not preemptions and not queued and adapter < _MANY:
        return _otherwise_unlimited(summary, queue_s) if waits_told(waits) else _unlimited(summary)
    limit = _resource(summary, found, queue, adapter, preemptions)
    if not found.backlog:
        return limit
    return (
        f"This fleet is overloaded: the queue grew for as long as requests came, to "
        f"{found.backlog:,}. The latencies say little, for they grow with the length of the "
        f"run. {limit}"
    )


def _unlimited(summary: dict[str, Any]) -> str:
    latency = summary["latency"]
    waits = (
        f"of a mean time to first token of {duration(latency['ttft_s']['mean'])}, queueing is "
        f"{duration(latency['queue_s']['mean'])} and waiting for adapters "
        f"{duration(latency['adapter_wait_s']['mean'])}."
    )
    if (summary["batch"]["busy_ratio"] or 0.0) < 0.4:
        return f"Nothing limits this fleet, it has capacity to spare: {waits}"
    return f"On average nothing holds requests back for long: {waits}"


def _otherwise_unlimited(summary: dict[str, Any], queue_s: float) -> str:
    return (
        "Nothing else holds requests back for long: without these waits, queueing is "
        f"{duration(queue_s)} on average and waiting for adapters "
        f"{duration(summary['latency']['adapter_wait_s']['mean'])}."
    )


def _resource(
    summary: dict[str, Any], found: Pressure, queue: float, adapter: float, preemptions: int
) -> str:
    adapters = summary["adapters"]
    evicting = adapters["evictions"] > 0.5 * adapters["loads"]
    if adapter > _MANY and adapter >= queue and evicting:
        return (
            "Room for adapters in GPU memory is the limit: "
            f"{adapters['evictions']:,} of {counted(adapters['loads'], 'load')} had to evict "
            "another adapter first. More slots or memory for adapters, or routing by adapter, "
            "would help."
        )
    if adapter > _MANY and adapter >= queue:
        return (
            "Loading adapters is the limit: requests wait for theirs longer than for anything "
            "else. Adapters closer to the GPU (more host memory, a faster disk or store) would "
            "help" + ("." if adapters["evictions"] else "; every load was an adapter's first use.")
        )
    if preemptions or found.kv_full > 0.5 or (found.pool_full > 0.5 and evicting):
        threw = f": {counted(preemptions, 'preemption')} threw work away" if preemptions else ""
        return (
            f"GPU memory is the limit{threw or ', full while requests waited'}. "
            "More or larger GPUs, fewer adapters held hot or quantized weights would help."
        )
    if found.batch_full > 0.5:
        return (
            "The batch is the limit: max_num_seqs "
            f"({summary['batch']['max_num_seqs']:,}) was used up while requests waited. "
            "A higher one would help as long as memory and time per output token allow."
        )
    if (summary["batch"]["busy_ratio"] or 0.0) > 0.85:
        return (
            "Compute is the limit: requests wait for steps, not for memory or a place in the "
            "batch. More or faster replicas would help, more memory would not."
        )
    return (
        "Requests wait although the replicas are idle at times: bursts or the routing hold them "
        "back; the figures over time show when."
    )


def _evidence(summary: dict[str, Any], found: Pressure) -> str:
    batch, latency = summary["batch"], summary["latency"]
    ttft = latency["ttft_s"]["mean"] or 1e-12
    filled = (
        ""
        if found.filled is None
        else f"A page pool was filled up to {share(found.filled)}, with cached prefixes and idle "
        "adapters. "
    )
    return (
        f"Some request was being served {share(batch['busy_ratio'])} of the time, "
        f"{batch['mean_running']:.3g} at once on a replica (limit {batch['max_num_seqs']:,}). "
        f"{filled}Queueing is {share(latency['queue_s']['mean'] / ttft)} of the mean time to "
        f"first token, waiting for adapters {share(latency['adapter_wait_s']['mean'] / ttft)}."
    )


def _missed(name: str, tier: dict[str, Any]) -> str:
    """Which promises the tier missed, and the phase that weighs most at its p99."""
    missed = {bound: entry for bound, entry in tier["sla"].items() if entry["met"] is False}
    if not missed:
        return ""
    told = []
    for bound, entry in missed.items():
        asked, measured, _ = promise(bound, entry)
        spent = budget(tier, bound)
        of_budget = f", error budget {spent}" if spent else ""
        told.append(f"{asked} (measured {measured}{of_budget})")
    sentence = f"Tier {name} misses {' and '.join(told)}."
    if "ttft_p99_s" in missed:
        phase = max(BEFORE_FIRST_TOKEN, key=lambda phase: tier[phase]["p99"] or 0.0)
        sentence += (
            f" Before the first token, its longest phase at the 99th percentile is "
            f"{_DOING[phase]}, {duration(tier[phase]['p99'])}."
        )
    return sentence
