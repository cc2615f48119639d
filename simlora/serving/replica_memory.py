"""A replica's GPU memory: KV blocks, cached prefixes and adapters over one page pool."""

from __future__ import annotations

from collections.abc import Callable

from simlora.serving.adapter_state import AdapterState
from simlora.serving.adapter_tiers import AdapterTiers
from simlora.serving.memory_watcher import MemoryWatcher
from simlora.serving.namespaces import Namespaces
from simlora.serving.page_pool import ADAPTER, KV, PagePool
from simlora.serving.prefix_cache import PrefixCache
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import Request

# Making room one prefix block at a time would end a run of decode steps at each of them, so a
# little more is freed at once: this share of the pool.
RECLAIM_SHARE = 1 / 256


class ReplicaMemory:
    """Gives pages to the batch, and takes them from what is only cached when they run out."""

    def __init__(self, spec: ReplicaSpec) -> None:
        caching = spec.deployment.scenario.engine.prefix_cache
        plan = self.plan = spec.plan
        self.pool = PagePool(plan.pool_pages)
        self.tiers = AdapterTiers(spec, self.pool)
        self.hot = self.tiers.hot
        self.prefix: PrefixCache | None = None
        self.node_blocks = spec.prefix_block_tokens // plan.block_tokens
        if caching.enabled:
            self.prefix = PrefixCache(
                self.pool, spec.prefix_block_tokens, self.node_blocks * plan.block_pages
            )
        self._namespaces = Namespaces(spec.deployment, spec.prefix_block_tokens)
        self._block_tokens = plan.block_tokens
        self.block_pages = plan.block_pages
        self._reclaim_extra = int(plan.pool_pages * RECLAIM_SHARE)
        self._watcher: MemoryWatcher | None = None
        # Pages that steps in flight have filled and that are booked when they are complete; a
        # driver that takes many steps at once knows.
        self.unbooked_pages: Callable[[], int] = lambda: 0

    def watch(self, watcher: MemoryWatcher) -> None:
        """Tell `watcher` from now on."""
        self._watcher = self.hot.watcher = watcher
        if self.prefix is not None:
            self.prefix.on_evict = watcher.forgotten

    def blocks(self, tokens: int) -> int:
        """KV blocks that `tokens` tokens fill, the last perhaps in part."""
        return -(-tokens // self._block_tokens)

    def blocks_between(self, held: int, tokens: int) -> int:
        """KV blocks that a sequence holding `held` tokens needs to hold `tokens`."""
        return self.blocks(tokens) - self.blocks(held)

    @property
    def free_blocks(self) -> int:
        """KV blocks that are free without evicting anything."""
        return self.pool.free // self.block_pages

    @property
    def reclaimable_blocks(self) -> int:
        """KV blocks that the batch could have together, with all that is only cached evicted."""
        pool = self.pool
        return (pool.pages - pool.held[ADAPTER] + self.hot.idle_pages) // self.block_pages

    def take_blocks(self, blocks: int) -> None:
        """Allocate KV blocks for which `make_room` has made room."""
        if blocks:
            self.pool.allocate(KV, blocks * self.block_pages)

    def make_room(self, pages: int, now: float) -> bool:
        """See that `pages` pages are free, evicting idle prefixes and adapters, whichever were used
        longest ago. False, and nothing evicted, if they cannot be had."""
        pool, hot, prefix = self.pool, self.hot, self.prefix
        if pages <= pool.free:
            return True
        idle_prefix = prefix.idle_pages if prefix is not None else 0
        if pages > pool.free + idle_prefix + hot.idle_pages:
            return False
        while pool.free < pages:
            victim = hot.next_victim(now) if hot.idle_pages else None
            if victim is None or (
                prefix is not None
                and prefix.idle_pages
                and prefix.oldest_idle_s() <= victim.last_used_s
            ):
                assert prefix is not None
                prefix.evict_oldest()
            else:
                hot.evict(victim, now)
        if prefix is not None:
            while pool.free < pages + self._reclaim_extra and prefix.idle_pages:
                prefix.evict_oldest()
        return True

    # --- cached prefixes ----------------------------------------------------------------

    def _namespace(self, request: Request) -> int:
        """The one that a request's own blocks are computed for: a request that fell back to the
        base model has no adapter, whatever it asked for."""
        return self._namespaces.of(
            request, -1 if request.adapter_state is None else request.adapter
        )

    def cached_prefix_tokens(self, request: Request) -> int:
        """The tokens of its prompt that a request which comes here would find cached now, as far as
        its adapter is not replaced by the base model. Changes nothing; for routers."""
        prefix, hashes = self.prefix, request.prefix_hashes
        if prefix is None or not hashes:
            return 0
        spaces = self._namespaces
        blocks = prefix.match(
            spaces.of(request, request.adapter),
            hashes,
            request.prompt_tokens - 1,
            spaces.public_blocks(request),
        )
        return blocks * prefix.block_tokens

    def acquire_prefix(self, request: Request, tokens: int, now: float) -> int:
        """Share the cached blocks that a prompt of `tokens` tokens begins with. At least one token
        is left to compute. Returns the tokens found."""
        prefix, hashes = self.prefix, request.prefix_hashes
        if prefix is None or not hashes:
            return 0
        namespace, public = self._namespace(request), self._namespaces.public_blocks(request)
        count = prefix.match(namespace, hashes, tokens - 1, public)
        request.prefix_nodes = prefix.acquire(namespace, hashes, count, now, public)
        return count * prefix.block_tokens

    def count_prefix(self, request: Request, tokens: int, cached: int) -> None:
        """Count a lookup that led to an admission."""
        if self._watcher is not None:
            self._watcher.admitted(request, cached)
        if self.prefix is not None and request.prefix_hashes:
            self.prefix.lookup_tokens += tokens
            self.prefix.hit_tokens += cached

    def adopt_prefix(self, request: Request, kv_tokens: int, now: float) -> None:
        """Cache the whole blocks of what a request has computed."""
        hashes, nodes = request.prefix_hashes, request.prefix_nodes
        if self.prefix is not None and hashes and nodes is not None:
            public = self._namespaces.public_blocks(request)
            adopted = self.prefix.adopt(
                self._namespace(request), hashes, nodes, kv_tokens, now, public
            )
            if adopted and self._watcher is not None:
                self._watcher.cached(request, adopted)

    def release_prefix(self, request: Request, now: float) -> int:
        """Stop sharing. Returns the KV blocks that were shared."""
        nodes = request.prefix_nodes
        if nodes is None:
            return 0
        assert self.prefix is not None
        self.prefix.release(nodes, now)
        request.prefix_nodes = None
        return len(nodes) * self.node_blocks

    def release(self, request: Request, kv_tokens: int, now: float) -> None:
        """Give back all that a request holding `kv_tokens` tokens has of this memory."""
        if self._watcher is not None:
            self._watcher.left(request, kv_tokens)
        blocks = self.blocks(kv_tokens)
        if request.prefix_nodes is not None:
            blocks -= self.release_prefix(request, now)
        self.pool.release(KV, blocks * self.block_pages)
        if request.adapter_state is not None:
            self.hot.leave(request.adapter_state, now)

    # --- adapters -----------------------------------------------------------------------

    def reserve_adapter(self, state: AdapterState, now: float, spare_pages: int) -> bool:
        """Give an adapter its slot or pages and begin its load. False if there is no room for it
        and `spare_pages` more."""
        if not self.hot.has_place(state, now):
            return False
        if not self.make_room(state.pages + spare_pages, now):
            return False
        self.hot.reserve(state, now)
        return True

    def check(self) -> None:
        """Raises AssertionError unless every page is accounted for once."""
        self.pool.check()
        self.tiers.check()
        if self.prefix is not None:
            self.prefix.check()
