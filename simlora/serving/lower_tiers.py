"""Host memory and local disk of a replica."""

from __future__ import annotations

from simlora.scenario.deployment import Deployment
from simlora.serving.adapter_state import ABSENT, HOSTED, LOADING, NOT_HOSTED, AdapterState
from simlora.serving.tier_cache import TierCache
from simlora.serving.tier_policies import GB, TierPolicies
from simlora.serving.tier_stats import TierStats


class LowerTiers:
    """Which adapters host memory and disk hold, and what goes down when something leaves.

    Where a tier is inclusive, what moves up leaves a copy in it; else it comes back when it is
    evicted above. What is evicted from the lowest is still in the store.
    """

    def __init__(
        self,
        deployment: Deployment,
        policies: TierPolicies,
        states: dict[int, AdapterState],
        stats: TierStats,
    ) -> None:
        config = deployment.scenario.adapters
        self.warm = TierCache(
            config.warm.capacity_gb * GB, deployment.scenario.engine.max_cpu_loras, policies.warm()
        )
        self.nvme = TierCache(
            config.nvme.capacity_gb * GB, config.nvme.max_adapters, policies.nvme()
        )
        self._deployment = deployment
        self._adapters = policies.adapters
        self._warm_keeps = config.warm.inclusive
        self._disk_keeps = config.nvme.inclusive
        self._states = states
        self._stats = stats

    def fill(self) -> list[int]:
        """Put adapters where the run begins, in their order, until a tier is full; those whose
        files are damaged do not come further than the disk. Returns those in host memory."""
        adapters, numbers = self._adapters, self._deployment.adapter_index
        initial = self._deployment.scenario.adapters.initial_tier
        hosted: dict[int, None] = {}
        damaged = {numbers[n] for n in self._deployment.scenario.adapters.loading.corrupt}
        for adapter in adapters if initial == "warm" else ():
            if adapter.index in damaged:
                continue
            if not self.warm.has_room(adapter.nbytes):
                break
            self.warm.insert(adapter.index, adapter.nbytes, 0.0)
            hosted[adapter.index] = None
        for adapter in adapters if initial != "store" else ():
            if adapter.index in hosted and not self._disk_keeps:
                continue
            if not self.nvme.has_room(adapter.nbytes):
                break
            self.nvme.insert(adapter.index, adapter.nbytes, 0.0)
        return list(hosted)

    def asked(self, state: AdapterState, now: float) -> None:
        """A request for the adapter has arrived. It leaves host memory if its time is over."""
        was_in_host = state.index in self.warm
        if not self.warm.access(state.index, now, self._may_leave_host) and was_in_host:
            self._left_host(state, now)

    def into_host(self, state: AdapterState, now: float, *, evict: bool = True) -> bool:
        """The adapter has come into host memory. False if there is no room to keep it there; with
        `evict`, room is made for it, here and on the disk."""
        self._into_warm(state, now, evict=evict)
        kept = state.index in self.warm
        if not kept or self._disk_keeps:
            self.into_disk(state, now, evict=evict)
        elif state.index in self.nvme:
            self.nvme.remove(state.index)
        return kept

    def _into_warm(self, state: AdapterState, now: float, *, evict: bool = True) -> None:
        if state.index in self.warm or not (evict or self.warm.has_room(state.nbytes)):
            return
        for index in self.warm.insert(state.index, state.nbytes, now, self._may_leave_host) or ():
            left = self._states[index]
            left.to_gpu = False
            if left.ahead and left.hot == ABSENT:
                left.ahead = False
                self._stats.prefetches_wasted += 1
            self._left_host(left, now)

    def _left_host(self, state: AdapterState, now: float) -> None:
        """The adapter has been evicted from host memory."""
        state.host = NOT_HOSTED
        if not self._disk_keeps:
            self.into_disk(state, now)

    def _may_leave_host(self, index: int) -> bool:
        state = self._states[index]
        return state.hot != LOADING and not state.waiting

    def into_disk(self, state: AdapterState, now: float, *, evict: bool = True) -> None:
        """A copy of the adapter is written to the disk, if there is room, or with `evict` if room
        can be made."""
        if state.index not in self.nvme and (evict or self.nvme.has_room(state.nbytes)):
            self.nvme.insert(state.index, state.nbytes, now)

    def went_up(self, state: AdapterState) -> None:
        """The adapter has reached GPU memory."""
        if not self._warm_keeps and state.index in self.warm:
            self.warm.remove(state.index)
        if state.index not in self.warm:
            state.host = NOT_HOSTED

    def came_down(self, state: AdapterState, now: float) -> None:
        """The adapter has left GPU memory. Copies down do not slow down those up: the link works in
        both directions at once."""
        if not self._warm_keeps and state.index not in self.warm:
            self._into_warm(state, now)
            if state.index in self.warm:
                state.host = HOSTED
            elif not self._disk_keeps:
                self.into_disk(state, now)

    def damaged_on_disk(self, state: AdapterState) -> None:
        """The disk's copy of the adapter is no good."""
        if state.index in self.nvme:
            self.nvme.remove(state.index)
