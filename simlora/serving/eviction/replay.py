"""A cache on its own: what a policy makes of a sequence of accesses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from simlora.serving.eviction import PolicyContext, make_policy
from simlora.serving.eviction.belady import Future
from simlora.serving.tier_cache import TierCache

Access = tuple[int, int]  # key, bytes


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was asked for and what of it was there."""

    accesses: int
    hits: int
    accessed_bytes: int
    hit_bytes: int

    @property
    def hit_ratio(self) -> float:
        """Hits per access (0 without any)."""
        return self.hits / self.accesses if self.accesses else 0.0

    @property
    def byte_hit_ratio(self) -> float:
        """Bytes hit per byte asked for (0 without any)."""
        return self.hit_bytes / self.accessed_bytes if self.accessed_bytes else 0.0


def replay(
    accesses: Sequence[Access],
    policy: str,
    capacity_bytes: float,
    *,
    times_s: Sequence[float] | None = None,
    context: PolicyContext | None = None,
) -> Replayed:
    """Ask a cache for each key in turn, bringing in what it does not hold.

    Access i happens at `times_s[i]`, or at i seconds. A key that is larger than the cache never
    comes in. `context` may give the reload times and weights of keys; capacity and future are
    filled in.

    Raises UserError if there is no such policy.
    """
    times = times_s if times_s is not None else range(len(accesses))
    context = replace(
        context or PolicyContext(),
        capacity_bytes=capacity_bytes,
        next_use=_future(accesses, times).next_use if policy.startswith("belady") else None,
    )
    cache = TierCache(capacity_bytes, None, make_policy(policy, context, "policy"))
    access, insert = cache.access, cache.insert
    hits = accessed_bytes = hit_bytes = 0
    for now, (key, nbytes) in zip(times, accesses, strict=True):
        accessed_bytes += nbytes
        if access(key, now):
            hits += 1
            hit_bytes += nbytes
        else:
            insert(key, nbytes, now)
    return Replayed(len(accesses), hits, accessed_bytes, hit_bytes)


def _future(accesses: Iterable[Access], times: Iterable[float]) -> Future:
    return Future((key, now) for (key, _), now in zip(accesses, times, strict=True))


def miss_ratio_curve(
    accesses: Sequence[Access],
    policies: Iterable[str],
    capacities_bytes: Sequence[float],
    *,
    times_s: Sequence[float] | None = None,
    context: PolicyContext | None = None,
) -> dict[str, list[float]]:
    """By policy, the misses per access at each capacity; arguments as of `replay`."""
    return {
        policy: [
            1 - replay(accesses, policy, capacity, times_s=times_s, context=context).hit_ratio
            for capacity in capacities_bytes
        ]
        for policy in policies
    }
