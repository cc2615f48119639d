"""What a live run knows at its end beside its requests, as far as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlora.results.schema import (
    MEASURED,
    AdapterFacts,
    BatchFacts,
    MemoryFacts,
    PoolFacts,
    PrefixFacts,
    RunFacts,
    TimingFacts,
)
from simlora.serving.loading import TERMS
from simlora.serving.page_pool import ADAPTER, KV, PREFIX
from simlora.serving.request import SOURCE_HOT, SOURCE_NAMES

if TYPE_CHECKING:
    from simlora.live.driver import Driver
    from simlora.live.server import Server
    from simlora.scenario.deployment import Deployment


def gather_facts(
    deployment: Deployment,
    server: Server,
    driver: Driver,
    engine: str,
    wall_s: float,
    span_s: float,
) -> RunFacts:
    """The facts of a run that has ended after `span_s`, setting up and writing files left out;
    `engine` is what it ran on."""
    scheduler, stats = server.scheduler, server.scheduler.tiers.stats
    pool, prefix, plan = scheduler.memory.pool, scheduler.memory.prefix, server.plan
    entry, gpu = deployment.scenario.fleet[0], deployment.gpus[0]
    return RunFacts(
        wall_s=wall_s,
        events=driver.arrived + server.steps,
        span_s=span_s,
        fleet=(PoolFacts(entry.gpu, 1, 1, gpu.usd_per_hour, span_s),),
        timing=TimingFacts(engine, MEASURED),
        memory=(
            MemoryFacts(
                page_bytes=plan.page_bytes,
                pool_pages=plan.pool_pages,
                weight_bytes=plan.weight_bytes,
                kv_capacity_tokens=plan.kv_capacity_tokens,
                kv_pages_peak=pool.peak[KV],
                adapter_pages_peak=pool.peak[ADAPTER],
                prefix_pages_peak=pool.peak[PREFIX],
                pages_allocated=pool.allocated_total,
                pages_freed=pool.freed_total,
                pages_held=sum(pool.held),
            ),
        ),
        adapters=AdapterFacts(
            lookups=stats.lookups,
            hits=stats.found[SOURCE_HOT],
            hits_by_tier=dict(zip(SOURCE_NAMES[1:], stats.found[1:], strict=True)),
            loads=stats.loads,
            evictions=stats.evictions,
            load_wait_s=scheduler.phases.adapter_wait_s,
            bytes_loaded=stats.loaded_bytes,
            load_terms_s={term: stats.terms_s[term] for term in TERMS if stats.terms_s[term]},
            transfers_failed=stats.transfers_failed,
            loads_given_up=stats.loads_given_up,
        ),
        prefix=PrefixFacts()
        if prefix is None
        else PrefixFacts(prefix.lookup_tokens, prefix.hit_tokens),
        batch=BatchFacts(
            steps=server.steps,
            busy_s=driver.busy_s,
            mean_running=driver.running_s / driver.busy_s if driver.busy_s else 0.0,
        ),
        preemptions=scheduler.preemptions,
        interrupted=driver.interrupted,
        versions=server.versions.facts(span_s),
    )
