"""Loads ahead of requests, in virtual time."""

from __future__ import annotations

from collections.abc import Generator
from math import inf

from simpy import Environment
from simpy.events import Event

from simlora.scenario.deployment import Deployment
from simlora.serving.loading import TO_GPU
from simlora.serving.prefetch import Prefetcher
from simlora.serving.request import Request
from simlora.serving.routing import Router, likely_replica
from simlora.sim.fleet import Fleet
from simlora.sim.foresight import adapters_by_demand, logins
from simlora.sim.replica import ReplicaProcess
from simlora.workload.blocks import Traffic


class Prefetching:
    """Tells each replica's Prefetcher what happens, and the replica what is due. One that comes up
    during the run begins as all do at the start."""

    def __init__(
        self,
        env: Environment,
        deployment: Deployment,
        traffic: Traffic,
        fleet: Fleet,
        router: Router,
    ) -> None:
        self._env = env
        self._deployment = deployment
        self._config = config = deployment.scenario.adapters.prefetch
        self._traffic = traffic
        self._fleet = fleet
        self._router = router
        self._prefetchers: dict[int, Prefetcher] = {}  # by member
        self._known: dict[int, ReplicaProcess] = {}
        self._wakes_at_s = [inf] * len(fleet.members)
        self._ranking: list[int] = []
        if config.top_k or config.bulk or config.regional:
            self._ranking = adapters_by_demand(deployment, traffic)
        for member in fleet.members:
            if member.running:
                self.came_up(member.number)
        if config.session_start:
            env.process(self._log_in())

    def came_up(self, number: int) -> None:
        """A replica is up; if it is a new one, nothing is in its memory."""
        process = self._fleet.members[number].process
        if self._known.get(number) is process:
            return
        self._known[number] = process
        prefetcher = self._prefetchers[number] = Prefetcher(self._config)
        prefetcher.start(self._served(number))
        self._wakes_at_s[number] = inf
        self._wake_when_due(number)

    def _served(self, number: int) -> list[int]:
        """The adapters that the replica may have to serve, the most asked for first."""
        pool = self._fleet.members[number].pool
        served = {adapter.index for adapter in self._deployment.served_by(pool)}
        return [adapter for adapter in self._ranking if adapter in served]

    def requested(self, request: Request) -> None:
        """A request has been sent to a replica."""
        if request.adapter >= 0:
            self._prefetchers[request.replica].requested(request.adapter, self._env.now)
            self._wake_when_due(request.replica)

    def _log_in(self) -> Generator[Event, None, None]:
        env = self._env
        tenant_of = [adapter.tenant for adapter in self._deployment.adapters]
        for login_s, adapter in logins(self._config, self._traffic):
            if login_s > env.now:
                yield env.timeout(login_s - env.now)
            replicas = self._fleet.candidates(tenant_of[adapter], adapter)
            if not replicas:
                continue
            number = replicas[likely_replica(self._router, adapter, replicas)].number
            self._prefetchers[number].ask(adapter, TO_GPU)
            self._wake_when_due(number)

    def _wake_when_due(self, replica: int) -> None:
        """See that the replica's prefetches are begun at their time."""
        env, due_s = self._env, max(self._prefetchers[replica].next_s, self._env.now)
        if due_s >= self._wakes_at_s[replica]:
            return
        self._wakes_at_s[replica] = due_s
        prefetcher = self._prefetchers[replica]
        timeout = env.timeout(due_s - env.now)
        timeout.callbacks.append(lambda _: self._wake(replica, prefetcher, due_s))

    def _wake(self, replica: int, prefetcher: Prefetcher, due_s: float) -> None:
        member = self._fleet.members[replica]
        if self._prefetchers[replica] is not prefetcher or self._wakes_at_s[replica] != due_s:
            return  # another came before it
        self._wakes_at_s[replica] = inf
        if not member.running:
            return
        may_load = member.process.scheduler.tiers.may_prefetch
        for adapter, goal in prefetcher.due(self._env.now, may_load):
            member.process.prefetch(adapter, goal)
        self._wake_when_due(replica)
