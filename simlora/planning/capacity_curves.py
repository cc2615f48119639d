"""What a larger or a smaller hot tier would do: misses and reloads over its capacity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simlora.planning.adapter_stream import Indexes, Stream, places_of, stream_of
from simlora.planning.bound import BELADY
from simlora.planning.variants import Variant
from simlora.results.summary import MONTH_H
from simlora.scenario.deployment import Deployment, expand
from simlora.serving.eviction import PolicyContext, make_policy
from simlora.serving.eviction.belady import Future
from simlora.serving.memory import plan_memory
from simlora.serving.replica_spec import NextUse
from simlora.serving.tier_cache import TierCache
from simlora.validation.processes import run_all

POINTS = 12
_BELOW = 16  # the smallest capacity is the scenario's own divided by this
_APART = 0.1  # a step that is nearer to one of the variants' own capacities is left out


@dataclass(frozen=True, slots=True)
class Curve:
    """One policy: misses per access, and seconds of reloading per 1,000 accesses, at each number
    of places."""

    policy: str
    miss_ratio: tuple[float, ...]
    reload_s_per_1000: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CapacityCurves:
    """Curves over the capacity of one replica's GPU memory for adapters, in places of a mean
    adapter. Belady's is the last.

    `own` are the capacities of the variants themselves. `usd_month_per_place` is the share of the
    replica's price that the memory of a place has.
    """

    variant: str
    seed: int
    stream: Stream
    places: tuple[int, ...]
    own: tuple[int, ...]
    usd_month_per_place: float
    replicas: int
    curves: tuple[Curve, ...]


def capacity_curves(variants: Sequence[Variant], seed: int, jobs: int = 1) -> CapacityCurves | None:
    """Curves of the variants' policies and of Belady's, on the requests of the first variant with
    `seed`; None where they would tell nothing: the variants have one policy and no bound on their
    hot adapters, or nobody asks for an adapter.

    One cache on its own sees all requests for adapters in the order of arrival, whatever the number
    of replicas; a load takes no time there, and nothing is in use. No more than MOST_ACCESSES of
    them count. `jobs` is the number of processes.

    Raises UserError for a timing profile or a trace that cannot be read.
    """
    policies = list(dict.fromkeys(v.scenario.adapters.hot.eviction for v in variants))
    if len(policies) == 1 and any(places_of(v.scenario, 1.0) is None for v in variants):
        return None
    scenario = variants[0].scenario.model_copy(update={"seed": seed})
    deployment = expand(scenario)
    stream = stream_of(deployment)
    if not len(stream.adapter):
        return None
    bounds = {places_of(variant.scenario, stream.place_bytes) for variant in variants}
    own = sorted(bound for bound in bounds if bound is not None)
    places = _places(deployment, stream, own)
    # Belady's takes the longest, so that it is begun first.
    policies = [BELADY, *(policy for policy in policies if policy != BELADY)]
    bound, *others = run_all(curve, [(stream, policy, places) for policy in policies], jobs)
    gpu, gpus = deployment.gpus[0], scenario.fleet[0].tensor_parallel
    share = stream.place_bytes / (gpu.memory_bytes * gpus)
    return CapacityCurves(
        variant=variants[0].name,
        seed=seed,
        stream=stream,
        places=places,
        own=tuple(own),
        usd_month_per_place=share * gpu.usd_per_hour * gpus * MONTH_H,
        replicas=sum(pool.replicas for pool in scenario.fleet),
        curves=(*others, bound),
    )


def curve(stream: Stream, policy: str, places: Sequence[int]) -> Curve:
    """The curve of one policy. Raises UserError if there is no such policy."""
    next_use = None
    if policy.partition("+")[0] == BELADY:
        next_use = Future(
            zip(stream.adapter.tolist(), stream.arrival_s.tolist(), strict=True)
        ).next_use
    misses = [_misses(stream, policy, each, next_use) for each in places]
    accesses = len(stream.adapter)
    return Curve(
        policy,
        tuple(float(missed.sum()) / accesses for missed in misses),
        tuple(1000 * float(missed @ stream.reload_s) / accesses for missed in misses),
    )


def _misses(stream: Stream, policy: str, places: int, next_use: NextUse | None) -> Indexes:
    """How often each adapter is missed in a cache of so many places."""
    capacity_bytes = places * stream.place_bytes
    sizes, reload_s, weight = (
        values.tolist() for values in (stream.nbytes, stream.reload_s, stream.weight)
    )
    keys, times = stream.adapter.tolist(), stream.arrival_s.tolist()
    context = PolicyContext(
        # As the hot tier of a server has it: a count in a pool is no part of its bytes.
        capacity_bytes=None if stream.by_count and not stream.slots else capacity_bytes,
        reload_s=reload_s.__getitem__,
        weight=weight.__getitem__,
        unit_bytes=min(sizes),
        next_use=next_use,
    )
    chosen = make_policy(policy, context, "adapters.hot.eviction")
    if stream.by_count:
        cache = TierCache(math.inf, places, chosen)
    else:
        cache = TierCache(capacity_bytes, None, chosen)
    evictable = None
    if math.inf in weight:

        def evictable(key: int) -> bool:
            return weight[key] < math.inf

    access, insert = cache.access, cache.insert
    missed = [0] * len(sizes)
    for key, now in zip(keys, times, strict=True):
        if not access(key, now, evictable):
            missed[key] += 1
            insert(key, sizes[key], now, evictable)
    return np.array(missed)


def _places(deployment: Deployment, stream: Stream, own: Sequence[int]) -> tuple[int, ...]:
    """Even steps on a logarithmic axis up to all adapters that are asked for, and the variants' own
    capacities."""
    used = stream.used
    if own:
        middle = own[0]
    else:  # as many as a pool without any KV would hold
        plan = plan_memory(deployment, 0)
        middle = int(plan.pool_pages * plan.page_bytes / stream.place_bytes)
    low = max(min(middle, used) // _BELOW, 1)
    steps = np.rint(np.geomspace(low, max(used, low + 1), POINTS)).astype(int)
    apart = [step for step in steps if all(abs(math.log(step / each)) > _APART for each in own)]
    return tuple(int(each) for each in np.unique([*apart, *own]))
