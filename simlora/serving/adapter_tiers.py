"""Where a replica's adapters are: GPU memory, host memory, local disk, object storage."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappush

from simlora.scenario.deployment import Deployment
from simlora.serving.adapter_state import (
    ABSENT,
    FETCHING,
    HOSTED,
    HOT,
    LOADING,
    NOT_HOSTED,
    AdapterState,
)
from simlora.serving.memory import MemoryPlan
from simlora.serving.page_pool import ADAPTER, PagePool
from simlora.serving.request import (
    SOURCE_HOT,
    SOURCE_NVME,
    SOURCE_STORE,
    SOURCE_WARM,
    Request,
)
from simlora.serving.tier_cache import TierCache
from simlora.serving.tier_policies import GB, TierPolicies
from simlora.serving.tier_stats import TierStats

# The links an adapter travels over, each shared by the replica's transfers.
NETWORK, DISK, PCIE = range(3)


@dataclass(slots=True, frozen=True)
class Transfer:
    """An order to the driver: move `adapter` over `link`; report with `transfer_done`."""

    adapter: AdapterState
    link: int
    latency_s: float
    nbytes: int


class AdapterTiers:
    """Looks adapters up, brings them up tier by tier and evicts them.

    Host memory and disk are filled as soon as a request asks. GPU memory is given in the order of
    `backlog`, by the scheduler at step boundaries, because it competes with the KV cache.
    """

    def __init__(
        self, deployment: Deployment, plan: MemoryPlan, pool: PagePool, load_bytes_per_s: float
    ) -> None:
        config = deployment.scenario.adapters
        self._config = config
        self._deployment = deployment
        self._plan = plan
        self._pool = pool
        self._states: dict[int, AdapterState] = {}
        self._hot_limit = plan.max_hot_adapters
        self._reads_itself = deployment.scenario.engine.adapter_loading == "blocking"
        self.hot_count = 0
        self.idle_pages = 0  # of hot adapters that may be evicted at once
        self._idle_count = 0
        self.loading_count = 0
        self.backlog: list[tuple[float, int, AdapterState]] = []
        self.outbox: list[Transfer] = []  # emptied by the driver
        self.stats = TierStats()
        policies = TierPolicies(
            deployment,
            plan,
            load_bytes_per_s,
            lambda index: index in self._warm,
            lambda index: index in self._nvme,
        )
        self._hot_policy = policies.hot()
        self._hot_miss = getattr(self._hot_policy, "on_miss", None)
        self._hot_expired = getattr(self._hot_policy, "expired", None)
        self._hot_bytes = policies.hot_bytes
        self._warm = TierCache(
            config.warm.capacity_gb * GB, deployment.scenario.engine.max_cpu_loras, policies.warm()
        )
        self._nvme = TierCache(config.nvme.capacity_gb * GB, None, policies.nvme())
        self._fill_initial_tiers(deployment)

    def _fill_initial_tiers(self, deployment: Deployment) -> None:
        """Put adapters where the run begins, in their order, until a tier is full."""
        tiers = {"warm": [self._warm, self._nvme], "nvme": [self._nvme], "store": []}
        for tier in tiers[self._config.initial_tier]:
            for adapter in deployment.adapters:
                if not tier.has_room(adapter.nbytes):
                    break
                tier.insert(adapter.index, adapter.nbytes, 0.0)
                if tier is self._warm:
                    self.state(adapter.index).host = HOSTED

    def state(self, index: int) -> AdapterState:
        """The state of an adapter on this replica, made when first asked for."""
        state = self._states.get(index)
        if state is None:
            adapter = self._deployment.adapters[index]
            tier = self._deployment.tenants[adapter.tenant].tier
            state = self._states[index] = AdapterState(
                index,
                adapter.parameters,
                adapter.nbytes,
                self._plan.adapter_pages(adapter.parameters),
                self._deployment.tier_names[tier] in self._config.hot.pinned_tiers,
            )
        return state

    def is_hot(self, index: int) -> bool:
        """Whether the adapter is in GPU memory now."""
        state = self._states.get(index)
        return state is not None and state.hot == HOT

    # --- lookups ------------------------------------------------------------------------

    def look_up(self, request: Request, now: float) -> AdapterState:
        """Count an access and note on `request` where its adapter was found."""
        state = self.state(request.adapter)
        if self._hot_expired is not None and state.idle and self._hot_expired(state.index, now):
            self.evict(state)
        if state.hot != ABSENT:
            self._hot_policy.on_access(state.index, now)
        elif self._hot_miss is not None:
            self._hot_miss(state.index, now)
        state.last_used_s = now
        was_in_host = state.index in self._warm
        in_host = self._warm.access(state.index, now, self._may_leave_host)
        if was_in_host and not in_host:  # its time there is over
            state.host = NOT_HOSTED
        if state.hot == HOT:
            source = SOURCE_HOT
        elif in_host or state.host == HOSTED:
            source = SOURCE_WARM
        else:
            source = SOURCE_NVME if self._nvme.access(state.index, now) else SOURCE_STORE
        request.adapter_source = source
        self.stats.lookups += 1
        self.stats.found[source] += 1
        return state

    def is_cold(self, state: AdapterState) -> bool:
        """Whether the adapter is neither in GPU nor in host memory."""
        return state.hot == ABSENT and state.host != HOSTED

    def wait_for(self, state: AdapterState, request: Request, key: float) -> None:
        """`request` waits until the adapter is hot, which is set going if it is not yet."""
        state.waiting.append(request)
        if len(state.waiting) == 1 and state.hot == ABSENT:
            if state.host == HOSTED:
                heappush(self.backlog, (key, state.index, state))
            elif self._reads_itself and state.index in self._nvme:
                state.unread = True
                self.hosted(state, key, state.last_used_s)
            else:
                self.fetch(state)

    def fetch(self, state: AdapterState) -> None:
        """Bring the adapter into host memory, unless it is on its way."""
        if state.host != NOT_HOSTED:
            return
        state.host = FETCHING
        config = self._config
        if state.index in self._nvme:
            order = Transfer(state, DISK, config.nvme.latency_s, state.nbytes)
        else:
            order = Transfer(state, NETWORK, config.store.latency_s, state.nbytes)
        self.outbox.append(order)

    # --- arrivals from below ------------------------------------------------------------

    def hosted(self, state: AdapterState, key: float, now: float) -> None:
        """The adapter has come into host memory (and, read from the store, onto the disk)."""
        state.host = HOSTED
        if state.index not in self._nvme:
            self._nvme.insert(state.index, state.nbytes, now)
        evicted = self._warm.insert(state.index, state.nbytes, now, self._may_leave_host)
        for index in evicted or ():
            self.state(index).host = NOT_HOSTED
        if state.waiting and state.hot == ABSENT:
            heappush(self.backlog, (key, state.index, state))
        elif evicted is None:  # no room to keep it, and nobody waits for it
            state.host = NOT_HOSTED

    def _may_leave_host(self, index: int) -> bool:
        state = self._states.get(index)
        return state is None or (state.hot != LOADING and not state.waiting)

    def became_hot(self, state: AdapterState, now: float) -> list[Request]:
        """The adapter's weights are in GPU memory. Returns the requests that waited for it."""
        self.loading_count -= 1
        state.hot = HOT
        state.hot_since_s = now
        if state.index not in self._warm:
            state.host = NOT_HOSTED  # it passed through a buffer only
        waiting, state.waiting = state.waiting, []
        state.fresh = bool(waiting)
        if not state.fresh:
            self._set_idle(state, 1)
        return waiting

    # --- GPU memory ---------------------------------------------------------------------

    def has_slot(self) -> bool:
        """Whether the bound on hot adapters lets one more in, after an eviction if need be."""
        return self._hot_limit is None or self.hot_count < self._hot_limit or self._idle_count > 0

    def reserve(self, state: AdapterState, now: float) -> None:
        """Give the adapter its slot or pages, which must be free, and start loading it."""
        if self._hot_limit is not None and self.hot_count >= self._hot_limit:
            self.evict_one()
        self._pool.allocate(ADAPTER, state.pages)
        state.hot = LOADING
        self.hot_count += 1
        self.loading_count += 1
        self.stats.loads += 1
        self.stats.loaded_bytes += state.nbytes
        self._hot_policy.on_insert(state.index, self._hot_bytes(state.index), now)

    def gpu_copy(self, state: AdapterState) -> Transfer:
        """The copy of a reserved adapter from host to GPU memory; a blocking engine reads what is
        on disk only, first."""
        latency_s = self._config.warm.latency_s
        if state.unread:
            disk = self._config.nvme
            latency_s += disk.latency_s + 8 * state.nbytes / (disk.bandwidth_gbps * GB)
        return Transfer(state, PCIE, latency_s, state.nbytes)

    def waiting_requests(self) -> list[Request]:
        """All requests that wait for an adapter."""
        return [request for state in self._states.values() for request in state.waiting]

    def use(self, state: AdapterState) -> None:
        """A request of the hot adapter joins the batch."""
        state.running += 1
        if state.fresh:
            state.fresh = False
        elif state.running == 1:
            self._set_idle(state, -1)

    def leave(self, state: AdapterState) -> None:
        """A request of the adapter leaves the batch."""
        state.running -= 1
        if state.running == 0:
            self._set_idle(state, 1)

    def _set_idle(self, state: AdapterState, sign: int) -> None:
        if not state.pinned:
            self.idle_pages += sign * state.pages
            self._idle_count += sign

    def next_victim(self) -> AdapterState | None:
        """The adapter that the policy would evict next, among those nobody uses."""
        if not self._idle_count:
            return None
        for index in self._hot_policy.victims():
            state = self._states[index]
            if state.idle:
                return state
        return None

    def evict(self, state: AdapterState) -> None:
        """Drop an idle adapter from GPU memory."""
        self._set_idle(state, -1)
        state.hot = ABSENT
        state.unread = False
        self.hot_count -= 1
        self.stats.evictions += 1
        self._pool.release(ADAPTER, state.pages)
        self._hot_policy.on_remove(state.index)

    def evict_one(self) -> None:
        """Drop the policy's next victim; there must be one."""
        victim = self.next_victim()
        assert victim is not None
        self.evict(victim)

    def give_up_fresh(self) -> None:
        """Let adapters that were loaded ahead of their requests be evicted."""
        for index in self._hot_policy.victims():
            state = self._states[index]
            if state.fresh:
                state.fresh = False
                self._set_idle(state, 1)

    def check(self) -> None:
        """Raises AssertionError unless counts, pages and states agree."""
        resident = [s for s in self._states.values() if s.hot != ABSENT]
        idle = [state for state in resident if state.idle]
        assert len(resident) == self.hot_count
        assert sum(s.pages for s in resident) == self._pool.held[ADAPTER]
        assert (sum(s.pages for s in idle), len(idle)) == (self.idle_pages, self._idle_count)
        assert self._hot_limit is None or self.hot_count <= self._hot_limit
        assert sum(s.hot == LOADING for s in resident) == self.loading_count
