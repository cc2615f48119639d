"""The `events` of a scenario, carried out at their times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simpy import Environment

from simlora.scenario.deployment import Deployment
from simlora.scenario.events import (
    CorruptAdapter,
    Crash,
    Event,
    PoolLeak,
    RegionOutage,
    SlowGpu,
    StoreOutage,
)
from simlora.serving.request import Request
from simlora.sim.fleet import Fleet

LEAK_EVERY_S = 1.0  # memory leaks in lumps


class Happenings:
    """Breaks things at the time that the scenario says, and mends them again. `on_loss` is given
    the requests of lost replicas."""

    def __init__(
        self,
        env: Environment,
        deployment: Deployment,
        fleet: Fleet,
        on_loss: Callable[[list[Request]], None],
    ) -> None:
        self._env = env
        self._deployment = deployment
        self._fleet = fleet
        self._on_loss = on_loss
        for event in deployment.scenario.events:
            self._at(event.at_s, partial(self._begin, event))

    def _at(self, delay_s: float, then: Callable[[], None]) -> None:
        self._env.timeout(delay_s).callbacks.append(lambda _: then())

    def _begin(self, event: Event) -> None:
        fleet, outages = self._fleet, self._fleet.outages
        if isinstance(event, Crash):
            self._lose([event.crash], event.duration_s)
        elif isinstance(event, RegionOutage):
            fleet_entries = self._deployment.scenario.fleet
            numbers = [
                member.number
                for member in fleet.members
                if fleet_entries[member.pool].region == event.region_outage
            ]
            self._lose(numbers, event.duration_s)
        elif isinstance(event, SlowGpu):
            member = fleet.members[event.slow_gpu]
            fleet.slow_down(member, event.factor)
            self._at(event.duration_s, lambda: fleet.slow_down(member, 1 / event.factor))
        elif isinstance(event, StoreOutage):
            outages.store += 1
            self._at(event.duration_s, self._store_is_back)
        elif isinstance(event, CorruptAdapter):
            adapter = self._deployment.adapter_index[event.corrupt_adapter]
            outages.corrupt[adapter] += 1
            self._at(event.duration_s, lambda: outages.corrupt.subtract([adapter]))
        else:
            self._leak(event, self._env.now + event.duration_s)

    def _store_is_back(self) -> None:
        self._fleet.outages.store -= 1

    def _lose(self, numbers: list[int], duration_s: float) -> None:
        lost: list[Request] = []
        for number in numbers:
            lost += self._fleet.lose(self._fleet.members[number], duration_s)
        self._on_loss(sorted(lost, key=lambda request: request.index))

    def _leak(self, event: PoolLeak, until_s: float, owed_bytes: float = 0.0) -> None:
        """A lump of memory is lost each while, until the leak is mended; less than a page of it is
        owed until the next."""
        interval_s = min(LEAK_EVERY_S, until_s - self._env.now)
        if interval_s <= 0:
            return

        def lose_some() -> None:
            member = self._fleet.members[event.pool_leak]
            rest_bytes = 0.0
            if member.running:
                leaked_bytes = owed_bytes + event.gb_per_s * 1e9 * interval_s
                pages, rest_bytes = divmod(leaked_bytes, member.spec.plan.page_bytes)
                member.process.leak(int(pages))
            self._leak(event, until_s, rest_bytes)

        self._at(interval_s, lose_some)
