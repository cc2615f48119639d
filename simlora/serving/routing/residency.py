"""What a replica already has of what a request needs."""

from __future__ import annotations

from simlora.serving.page_pool import ADAPTER, KV, PREFIX
from simlora.serving.request import Request
from simlora.serving.routing.base import ReplicaView

HOT, NEARBY, COLD = 1.0, 0.6, 0.0


def adapter_residency(adapter: int, replica: ReplicaView) -> float:
    """HOT: in GPU memory. NEARBY: in host memory, milliseconds away. COLD: further away, or there
    is none."""
    if adapter < 0:
        return COLD
    if replica.tiers.is_hot(adapter):
        return HOT
    return NEARBY if adapter in replica.tiers.lower.warm else COLD


def cached_share(request: Request, replica: ReplicaView) -> float:
    """The share of the prompt, 0 to 1, that the replica's prefix cache has."""
    return replica.memory.cached_prefix_tokens(request) / request.prompt_tokens


def kv_use(replica: ReplicaView) -> float:
    """The share, 0 to 1, of the memory for KV blocks that running requests hold. What is only
    cached gives way to them, so it counts as free."""
    memory = replica.memory
    held = memory.pool.held
    idle_prefix = memory.prefix.idle_pages if memory.prefix is not None else 0
    pages = memory.pool.pages - held[ADAPTER] + memory.hot.idle_pages
    used = held[KV] + memory.unbooked_pages() + held[PREFIX] - idle_prefix
    return used / pages if pages > 0 else 1.0
