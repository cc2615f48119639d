"""What a finished simulation knows beside its requests."""

from __future__ import annotations

import math

from simlora.results.schema import (
    AdapterFacts,
    BatchFacts,
    MemoryFacts,
    PoolFacts,
    PrefixFacts,
    RunFacts,
    TimingFacts,
)
from simlora.scenario.deployment import Deployment
from simlora.serving.loading import TERMS
from simlora.serving.memory import MemoryPlan
from simlora.serving.page_pool import ADAPTER, KV, PREFIX, PagePool
from simlora.serving.request import SOURCE_HOT, SOURCE_NAMES
from simlora.sim.simulation import Simulation
from simlora.timing import TimingModel
from simlora.timing.select import NEAREST, timing_hash


def gather_facts(
    deployment: Deployment, simulation: Simulation, wall_s: float, interrupted: bool
) -> RunFacts:
    """The facts of a run that has ended."""
    fleet = simulation.fleet
    replicas = fleet.lives
    schedulers = [replica.scheduler for replica in replicas]
    stats = [scheduler.tiers.stats for scheduler in schedulers]
    found = [sum(s.found[source] for s in stats) for source in range(len(SOURCE_NAMES))]
    prefixes = [s.memory.prefix for s in schedulers if s.memory.prefix is not None]
    rules = [s.rules for s in schedulers if s.rules is not None]
    mergings = [rule.merging for rule in rules if rule.merging is not None]
    busy_s = sum(replica.busy_s for replica in replicas)
    running_s = sum(replica.running_s for replica in replicas)
    return RunFacts(
        wall_s=wall_s,
        events=simulation.arrived + sum(replica.events for replica in replicas),
        span_s=simulation.env.now,
        fleet=tuple(
            PoolFacts(
                pool.gpu,
                pool.replicas,
                pool.tensor_parallel,
                gpu.usd_per_hour,
                fleet.paid_s(index),
            )
            for index, (pool, gpu) in enumerate(
                zip(deployment.scenario.fleet, deployment.gpus, strict=True)
            )
        ),
        timing=_timing_facts(deployment, simulation.timings),
        memory=tuple(
            _memory_facts(member.spec.plan, [life.scheduler.memory.pool for life in member.lives])
            for member in fleet.members
        ),
        adapters=AdapterFacts(
            lookups=sum(s.lookups for s in stats),
            hits=found[SOURCE_HOT],
            hits_by_tier=dict(zip(SOURCE_NAMES[1:], found[1:], strict=True)),
            loads=sum(s.loads for s in stats),
            evictions=sum(s.evictions for s in stats),
            load_wait_s=sum(scheduler.phases.adapter_wait_s for scheduler in schedulers),
            bytes_loaded=sum(s.loaded_bytes for s in stats),
            load_terms_s={
                term: seconds
                for term in TERMS
                if (seconds := math.fsum(s.terms_s[term] for s in stats))
            },
            transfers_failed=sum(s.transfers_failed for s in stats),
            loads_given_up=sum(s.loads_given_up for s in stats),
            prefetches=sum(s.prefetches for s in stats),
            prefetches_used=sum(s.prefetches_used for s in stats),
            prefetches_wasted=sum(s.prefetches_wasted for s in stats),
        ),
        prefix=PrefixFacts(
            lookup_tokens=sum(prefix.lookup_tokens for prefix in prefixes),
            hit_tokens=sum(prefix.hit_tokens for prefix in prefixes),
        ),
        batch=BatchFacts(
            steps=sum(replica.steps for replica in replicas),
            busy_s=busy_s,
            mean_running=running_s / busy_s if busy_s else 0.0,
            merges=sum(merging.switches for merging in mergings),
            merged_s=math.fsum(merging.merged_s(simulation.env.now) for merging in mergings),
            trust_turns=sum(rule.trust.turns for rule in rules if rule.trust is not None),
        ),
        preemptions=sum(scheduler.preemptions for scheduler in schedulers),
        interrupted=interrupted,
        versions=simulation.versions.facts(simulation.env.now),
    )


def _timing_facts(deployment: Deployment, timings: list[TimingModel]) -> TimingFacts:
    scaled_from = [timing.scaled_from for timing in timings if timing.scaled_from is not None]
    beyond = [feature for timing in timings for feature in timing.extrapolates()]
    asked = deployment.scenario.timing.profile
    without = "roofline" if asked == NEAREST else asked
    names = [timing.profile_name or without for timing in timings]
    return TimingFacts(
        ", ".join(dict.fromkeys(names)),
        timing_hash(timings),
        scaled_from="; ".join(dict.fromkeys(scaled_from)) or None,
        extrapolates=tuple(dict.fromkeys(beyond)),
        error={
            name: max(timing.error.get(name, 0.0) for timing in timings)
            for name in dict.fromkeys(name for timing in timings for name in timing.error)
        },
    )


def _memory_facts(plan: MemoryPlan, pools: list[PagePool]) -> MemoryFacts:
    """The memory of one place in the fleet, of all replicas that were there one after another."""
    return MemoryFacts(
        page_bytes=plan.page_bytes,
        pool_pages=plan.pool_pages,
        weight_bytes=plan.weight_bytes,
        kv_capacity_tokens=plan.kv_capacity_tokens,
        kv_pages_peak=max((pool.peak[KV] for pool in pools), default=0),
        adapter_pages_peak=max((pool.peak[ADAPTER] for pool in pools), default=0),
        prefix_pages_peak=max((pool.peak[PREFIX] for pool in pools), default=0),
        pages_allocated=sum(pool.allocated_total for pool in pools),
        pages_freed=sum(pool.freed_total for pool in pools),
        pages_held=sum(sum(pool.held) for pool in pools),
    )
