"""Where a replica's adapters are: GPU memory, host memory, local disk, object storage."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappush

from simlora.scenario.event_checks import corrupt_names
from simlora.serving.adapter_state import (
    ABSENT,
    FETCHING,
    HOSTED,
    HOT,
    NOT_HOSTED,
    AdapterState,
)
from simlora.serving.hot_tier import HotTier
from simlora.serving.loading import DISK, NETWORK, PCIE, TO_DISK, TO_GPU, TO_HOST, Transfer
from simlora.serving.lower_tiers import LowerTiers
from simlora.serving.page_pool import PagePool
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import (
    SOURCE_HOT,
    SOURCE_NVME,
    SOURCE_STORE,
    SOURCE_WARM,
    Request,
)
from simlora.serving.tier_policies import TierPolicies
from simlora.serving.tier_stats import TierStats


class AdapterTiers:
    """Looks adapters up, brings them up tier by tier and evicts them.

    Host memory and disk are filled as soon as a request asks. GPU memory is given by the scheduler
    at step boundaries, because it competes with the KV cache: first to the adapters of `backlog`,
    in the order of the queue, then to those of `ahead`, that nobody waits for yet.
    """

    def __init__(self, spec: ReplicaSpec, pool: PagePool) -> None:
        deployment = self._deployment = spec.deployment
        config = self._config = deployment.scenario.adapters
        self._plan = spec.plan
        self._path = spec.path
        loading = config.loading
        self._retries, self._backoff_s = loading.retries, loading.backoff_s
        # What may fail is read beside the steps, where it can be tried again.
        self.reads_itself = deployment.scenario.engine.adapter_loading == "blocking" and not (
            loading.failure_rate or corrupt_names(deployment.scenario)
        )
        self._states: dict[int, AdapterState] = {}
        self.backlog: list[tuple[float, int, AdapterState]] = []
        self.ahead: deque[AdapterState] = deque()
        self.outbox: list[Transfer] = []  # emptied by the driver
        self.withdraw: Callable[[int], None]  # see Draining, which sets both
        self.refuse: Callable[[Request], None]  # told who waits for what is withdrawn
        self.stats = TierStats()
        policies = TierPolicies(
            spec,
            lambda index: index in self.lower.warm,
            lambda index: index in self.lower.nvme,
        )
        self.lower = LowerTiers(deployment, policies, self._states, self.stats)
        self.hot = HotTier(
            config.hot,
            spec.plan,
            pool,
            policies.hot(),
            policies.hot_bytes,
            config.prefetch.cadence.keep_s if config.prefetch.cadence is not None else 0.0,
            self._states,
            self.stats,
            self.lower.came_down,
        )
        for index in self.lower.fill():
            self.state(index).host = HOSTED

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
        self.hot.asked(state, now)
        state.last_used_s = now
        self.lower.asked(state, now)
        if state.hot == HOT:
            source = SOURCE_HOT
        elif state.host == HOSTED:
            source = SOURCE_WARM
        else:
            on_disk = self.lower.nvme.access(state.index, now)
            source = SOURCE_NVME if on_disk else SOURCE_STORE
        request.adapter_source = source
        self.stats.lookups += 1
        self.stats.found[source] += 1
        if state.ahead:
            state.ahead = False
            self.stats.prefetches_used += 1
        return state

    def is_cold(self, state: AdapterState) -> bool:
        """Whether the adapter, which is in service, is neither in GPU nor in host memory."""
        return state.hot == ABSENT and state.host != HOSTED and not state.withdrawn

    def waiting_requests(self) -> list[Request]:
        """All requests that wait for an adapter."""
        return [request for state in self._states.values() for request in state.waiting]

    # --- on the way up ------------------------------------------------------------------

    def wait_for(self, state: AdapterState, request: Request, key: float, now: float) -> None:
        """`request` waits until the adapter is hot, which is set going if it is not yet."""
        state.waiting.append(request)
        if state.withdrawn:
            self.refuse(request)
        elif len(state.waiting) == 1 and state.hot == ABSENT:
            if state.host == HOSTED:
                heappush(self.backlog, (key, state.index, state))
            elif self.reads_itself and state.host == NOT_HOSTED and self._on_disk(state):
                state.unread = True
                self._hosted(state, key, state.last_used_s)
            else:
                self.fetch(state, now)

    def stop_waiting(self, state: AdapterState, request: Request) -> None:
        """`request` waits for its adapter no more; what has begun to come up still does."""
        state.waiting.remove(request)
        if not state.waiting:
            self.backlog[:] = [entry for entry in self.backlog if entry[2] is not state]
            heapify(self.backlog)

    def requeue(self, state: AdapterState, key: float) -> None:
        """The first request that waits for an adapter is another one, with another place."""
        entries = [entry for entry in self.backlog if entry[2] is not state]
        if len(entries) < len(self.backlog):
            self.backlog[:] = [*entries, (key, state.index, state)]
            heapify(self.backlog)

    def _on_disk(self, state: AdapterState) -> bool:
        return state.index in self.lower.nvme

    def fetch(self, state: AdapterState, now: float) -> None:
        """Bring the adapter into host memory, unless it is on its way."""
        if state.host != NOT_HOSTED:
            return
        state.host = FETCHING
        self._order_fetch(state, now)

    def _order_fetch(
        self, state: AdapterState, now: float, attempt: int = 0, backoff_s: float = 0.0
    ) -> None:
        link = DISK if self._on_disk(state) else NETWORK
        order = self._path.order(state, link, TO_HOST, now, attempt=attempt, backoff_s=backoff_s)
        self.outbox.append(order)

    def gpu_copy(self, state: AdapterState, now: float) -> Transfer:
        """The copy of an adapter, which has been given its place, from host to GPU memory; a
        blocking engine reads what is on disk only, first."""
        read_s = self._path.alone_s(DISK, state.nbytes) if state.unread else 0.0
        return self._path.order(state, PCIE, TO_GPU, now, first_s=read_s)

    def may_prefetch(self, index: int, goal: int) -> bool:
        """Whether there is anything to load to bring an adapter to `goal`, and, below GPU memory,
        room for it."""
        state = self.state(index)
        if state.hot != ABSENT or state.waiting or state.withdrawn:
            return False
        if goal == TO_GPU:
            return not state.to_gpu
        if goal == TO_HOST:
            return state.host == NOT_HOSTED and self.lower.warm.has_room(state.nbytes)
        on_its_way = state.staging or self._on_disk(state)
        return not on_its_way and self.lower.nvme.has_room(state.nbytes)

    def prefetch(self, index: int, goal: int, now: float) -> None:
        """Bring an adapter to `goal` (TO_DISK, TO_HOST or TO_GPU) although nobody waits for it, if
        it may be."""
        if not self.may_prefetch(index, goal):
            return
        state = self.state(index)
        if goal == TO_DISK:
            state.staging = True
            self.stats.prefetches += 1
            self.outbox.append(self._path.order(state, NETWORK, TO_DISK, now))
            return
        self._begin_ahead(state)
        state.to_gpu = goal == TO_GPU
        if state.host == HOSTED:
            self.ahead.append(state)
        else:
            self.fetch(state, now)

    def _begin_ahead(self, state: AdapterState) -> None:
        if not state.ahead:
            state.ahead = True
            self.stats.prefetches += 1

    # --- arrivals from below ------------------------------------------------------------

    def arrived(self, transfer: Transfer, key: float, now: float) -> None:
        """A transfer to host memory or to the disk is done; `key` is the place in the queue of the
        first request that waits for the adapter, if any does."""
        state = transfer.adapter
        self.book(transfer, now)
        if transfer.goal == TO_DISK:
            state.staging = False
            if not state.withdrawn:
                self.lower.into_disk(state, now, evict=False)
        else:
            self._hosted(state, key, now)

    def _hosted(self, state: AdapterState, key: float, now: float) -> None:
        if state.withdrawn:
            state.host = NOT_HOSTED
            self._nobody_came(state)
            return
        state.host = HOSTED
        # What only fills host memory ahead pushes nobody out of it.
        fills = state.ahead and not state.to_gpu and not state.waiting
        kept = self.lower.into_host(state, now, evict=not fills)
        if state.waiting and state.hot == ABSENT:
            heappush(self.backlog, (key, state.index, state))
        elif state.to_gpu:
            self.ahead.append(state)
        elif not kept:  # no room to keep it, and nobody waits for it
            state.host = NOT_HOSTED
            self._nobody_came(state)

    def _nobody_came(self, state: AdapterState) -> None:
        state.to_gpu = False
        if state.ahead:
            state.ahead = False
            self.stats.prefetches_wasted += 1

    def next_ahead(self) -> AdapterState | None:
        """The adapter at the head of `ahead`, without those that have gone another way."""
        while self.ahead:
            state = self.ahead[0]
            if state.to_gpu and state.hot == ABSENT and not state.waiting and state.host == HOSTED:
                return state
            self.ahead.popleft()
        return None

    def became_hot(self, state: AdapterState, now: float) -> list[Request]:
        """The adapter's weights are in GPU memory. Returns the requests that waited for it."""
        self.hot.loaded(state, now)
        state.to_gpu = False
        if state.withdrawn:
            self.hot.drain(state, now)
            return []
        self.lower.went_up(state)
        waiting, state.waiting = state.waiting, []
        return waiting

    def book(self, transfer: Transfer, now: float) -> None:
        """Add the time of a transfer, done `now`, to the terms of all loads."""
        self._path.book(transfer, now, self.stats.terms_s)

    def book_alone(self, state: AdapterState, now: float) -> float:
        """The same for a copy to GPU memory that the engine makes between two steps. Returns the
        seconds that it takes."""
        load_s = 0.0
        for link in (DISK, PCIE) if state.unread else (PCIE,):
            order = self._path.order(state, link, TO_GPU, now)
            alone_s = self._path.alone_s(link, state.nbytes)
            self.book(order, now + alone_s)
            load_s += alone_s
        return load_s

    def failed(self, transfer: Transfer, now: float) -> list[Request]:
        """A transfer from disk or store broke off, or what it brought fails its check. It is tried
        again after a while, from the store if the disk's copy was no good; when it has failed often
        enough, the load is given up. Returns the requests that fail with it."""
        state = transfer.adapter
        self.book(transfer, now)
        self.stats.transfers_failed += 1
        if transfer.link == DISK:
            self.lower.damaged_on_disk(state)
        if transfer.attempt < self._retries and not state.withdrawn:
            attempt, wait_s = transfer.attempt + 1, self._backoff_s * 2.0**transfer.attempt
            if transfer.goal == TO_HOST:
                self._order_fetch(state, now, attempt, wait_s)
            else:
                self.outbox.append(
                    self._path.order(
                        state, NETWORK, TO_DISK, now, attempt=attempt, backoff_s=wait_s
                    )
                )
            return []
        self.stats.loads_given_up += 1
        if transfer.goal == TO_DISK:
            state.staging = False
            return []
        state.host = NOT_HOSTED
        self._nobody_came(state)
        waiting, state.waiting = state.waiting, []
        return waiting

    def drop_copies(self, state: AdapterState) -> None:
        """The adapter's copies in host memory and on the disk are no good any more."""
        for tier in (self.lower.warm, self.lower.nvme):
            if state.index in tier:
                tier.remove(state.index)
        if state.host == HOSTED:
            state.host = NOT_HOSTED

    # --- out of service -----------------------------------------------------------------

    def drain(self, state: AdapterState, now: float) -> None:
        """Take an adapter, for which nobody waits, out of service at a step boundary: it leaves GPU
        memory with the last request that uses it, and everything below at once."""
        state.withdrawn = True
        self.drop_copies(state)
        if state.hot == ABSENT and state.host == NOT_HOSTED:
            self._nobody_came(state)
        self.hot.drain(state, now)

    def undrain(self, state: AdapterState) -> None:
        """Take an adapter, for which nobody waits, into service again."""
        state.withdrawn = False
        self.hot.undrain(state)

    def check(self) -> None:
        """Raises AssertionError unless counts, pages and states agree."""
        self.hot.check()
