"""What a replica already has of what a request needs."""

from __future__ import annotations

from simlora.serving.page_pool import ADAPTER, KV, PREFIX
from simlora.serving.request import Request
from simlora.serving.routing.base import ReplicaView, key_of

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
    prefix, hashes = replica.memory.prefix, request.prefix_hashes
    if prefix is None or not hashes:
        return 0.0
    blocks = prefix.match(_namespace(request, replica), hashes, request.prompt_tokens - 1)
    return blocks * prefix.block_tokens / request.prompt_tokens


def _namespace(request: Request, replica: ReplicaView) -> int:
    """As ReplicaMemory has it once the request is there and has its adapter's state."""
    isolation = replica.memory._isolation
    if isolation == "shared":
        return 0
    if isolation == "tenant":
        return request.tenant
    return key_of(request)


def kv_use(replica: ReplicaView) -> float:
    """The share, 0 to 1, of the memory for KV blocks that running requests hold. What is only
    cached gives way to them, so it counts as free."""
    memory = replica.memory
    held = memory.pool.held
    idle_prefix = memory.prefix.idle_pages if memory.prefix is not None else 0
    pages = memory.pool.pages - held[ADAPTER] + memory.hot.idle_pages
    return (held[KV] + held[PREFIX] - idle_prefix) / pages if pages > 0 else 1.0
