"""A made-up run, recorded: what the tests of results and report look at."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import (
    AdapterFacts,
    BatchFacts,
    MemoryFacts,
    PoolFacts,
    PrefixFacts,
    RunFacts,
    TimingFacts,
)
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import COMPLETED, FAILED, REJECTED, SOURCE_NAMES, Request

POOL_PAGES = 1_000_000


def deployment(pro: int = 5, free: int = 20, **fields: Any) -> Deployment:
    """Two tiers; `pro` promises a TTFT of half a second and to be available."""
    return expand(
        Scenario.model_validate(
            {
                "name": "recorded",
                "model": "llama-3.1-8b",
                "fleet": [{"gpu": "h100-80gb", "replicas": 2}],
                "tenants": [
                    {"name": "pro", "count": pro, "tier": "platinum"},
                    {"name": "free", "count": free, "tier": "free"},
                ],
                "workload": {"rate_rps": 10.0},
                "tiers": {
                    "platinum": {"weight": 10, "sla": {"ttft_p99_s": 0.5, "availability": 0.99}},
                    "free": {"weight": 1},
                },
                **fields,
            }
        )
    )


def completed(
    of: Deployment,
    index: int,
    arrival_s: float,
    tenant: int = 0,
    *,
    queue_s: float = 0.0,
    adapter_wait_s: float = 0.0,
    prefill_s: float = 0.04,
    decode_s: float = 1.0,
    prompt_tokens: int = 100,
    output_tokens: int = 11,
    source: int = 1,
) -> Request:
    """A request that went through its phases one after the other."""
    request = Request(
        index, arrival_s, tenant, of.tenants[tenant].tier, tenant, prompt_tokens, output_tokens
    )
    request.status = COMPLETED
    request.replica = index % 2
    request.adapter_source = source
    request.queue_s, request.adapter_wait_s = queue_s, adapter_wait_s
    request.prefill_s, request.decode_s = prefill_s, decode_s
    request.first_token_s = arrival_s + queue_s + adapter_wait_s + prefill_s
    request.finish_s = request.first_token_s + decode_s
    request.emitted_tokens = output_tokens
    return request


def ended(of: Deployment, index: int, arrival_s: float, tenant: int, status: int) -> Request:
    """A request that did not complete."""
    request = Request(index, arrival_s, tenant, of.tenants[tenant].tier, tenant, 100, 11)
    request.status = status
    if status in (REJECTED, FAILED):
        request.reason = "rate limit" if status == REJECTED else "too long"
        request.finish_s = arrival_s
    return request


def facts(span_s: float, **fields: Any) -> RunFacts:
    """The end of a run on two replicas of one GPU."""
    memory = MemoryFacts(
        page_bytes=65_536,
        pool_pages=POOL_PAGES,
        weight_bytes=16 * 10**9,
        kv_capacity_tokens=500_000,
        kv_pages_peak=500_000,
        adapter_pages_peak=20_000,
        prefix_pages_peak=100_000,
    )
    return RunFacts(
        **{
            "wall_s": 0.5,
            "events": 1000,
            "span_s": span_s,
            "fleet": (PoolFacts("h100-80gb", 2, 1, 4.0, 2 * span_s),),
            "timing": TimingFacts("roofline", "abc123"),
            "memory": (memory, memory),
            **fields,
        }
    )


def record(
    of: Deployment,
    directory: Path,
    requests: Iterable[Request],
    span_s: float,
    *,
    warmup_s: float = 0.0,
    **fields: Any,
) -> Result:
    """Record these requests and no steps or gauges."""
    recorder = Recorder(of, directory, warmup_s=warmup_s)
    recorder.pending.extend(requests)
    return recorder.close(facts(span_s, **fields))


def busy_run(directory: Path, requests: int = 4000, pro: int = 50, free: int = 450) -> Result:
    """Traffic that swells and ebbs, with steps, gauges, every status and every adapter tier."""
    of = deployment(pro, free)
    rng = random.Random(7)
    span_s = requests / 8
    recorder = Recorder(of, directory, warmup_s=0.0)
    logs = [recorder.add_replica() for _ in range(2)]
    tenants = len(of.tenants)
    for index in range(requests):
        arrival_s = index / 8
        load = 0.5 + 0.5 * (arrival_s / span_s > 0.4) * (arrival_s / span_s < 0.6)
        tenant = int(tenants * rng.random() ** 2.5)
        if of.tenants[tenant].tier == 1 and rng.random() < 0.01:
            recorder.pending.append(ended(of, index, arrival_s, tenant, REJECTED))
            continue
        source = rng.choices((1, 2, 3, 4), (80, 14, 5, 1))[0]
        recorder.pending.append(
            completed(
                of,
                index,
                arrival_s,
                tenant,
                queue_s=rng.expovariate(1 / (0.3 * load**3)) * (1 + 3 * of.tenants[tenant].tier),
                adapter_wait_s=(0.0, 0.0, 0.006, 0.05, 1.2)[source],
                prefill_s=0.02 + rng.random() * 0.05,
                decode_s=rng.lognormvariate(0.5, 0.6),
                prompt_tokens=512,
                output_tokens=128,
                source=source,
            )
        )
    for log in logs:
        for event in range(requests):
            log.step_s.append(0.01 + 0.01 * rng.random())
            log.steps.append(5)
            log.decode_starts[event % 2].append(event)
            log.decode_ends[event % 2].append(min(event + 8, requests))
    time_s = 0.0
    while time_s < span_s:
        swell = 1 + 2 * (0.4 < time_s / span_s < 0.6)
        for replica in range(2):
            kv = int(120_000 * swell + 30_000 * rng.random())
            prefix = int(min(400_000, 2_000_000 * time_s / span_s))
            waiting = int(rng.expovariate(1 / swell**2))
            recorder.sample(
                time_s,
                replica,
                int(20 * swell + 5 * rng.random()),
                waiting,
                kv,
                prefix,
                18_000,
                POOL_PAGES - kv - prefix - 18_000,
                min(180, int(time_s)),
            )
        time_s += recorder.sample_interval_s
    found = {SOURCE_NAMES[tier]: count for tier, count in ((1, 3200), (2, 560), (3, 200), (4, 40))}
    return recorder.close(
        facts(
            span_s,
            adapters=AdapterFacts(4000, 3200, found, 800, 620, 62.0, 800 * 80 * 2**20),
            prefix=PrefixFacts(2_000_000, 300_000),
            batch=BatchFacts(40_000, 600.0, 24.0),
            preemptions=3,
        )
    )
