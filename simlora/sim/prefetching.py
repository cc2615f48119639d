"""Loads ahead of requests, in virtual time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from math import inf

from simpy import Environment
from simpy.events import Event

from simlora.scenario.deployment import Deployment
from simlora.serving.loading import TO_GPU
from simlora.serving.prefetch import Prefetcher
from simlora.serving.routing import Router, likely_replica
from simlora.sim.foresight import adapters_by_demand, logins
from simlora.sim.replica import ReplicaProcess
from simlora.workload.blocks import Traffic


class Prefetching:
    """Tells each replica's Prefetcher what happens, and the replica what is due."""

    def __init__(
        self,
        env: Environment,
        deployment: Deployment,
        traffic: Traffic,
        replicas: Sequence[ReplicaProcess],
        router: Router,
    ) -> None:
        self._env = env
        self._config = config = deployment.scenario.adapters.prefetch
        self._traffic = traffic
        self._replicas = replicas
        self._schedulers = [replica.scheduler for replica in replicas]
        self._router = router
        self._prefetchers = [Prefetcher(config) for _ in replicas]
        self._wakes_at_s = [inf] * len(replicas)
        if config.top_k or config.bulk or config.regional:
            ranking = adapters_by_demand(deployment, traffic)
            for index, prefetcher in enumerate(self._prefetchers):
                prefetcher.start(config, ranking)
                self._wake_when_due(index)
        if config.session_start:
            env.process(self._log_in())

    def requested(self, replica: int, adapter: int) -> None:
        """A request for the adapter has been sent to a replica."""
        self._prefetchers[replica].requested(adapter, self._env.now)
        self._wake_when_due(replica)

    def _log_in(self) -> Generator[Event, None, None]:
        env = self._env
        for login_s, adapter in logins(self._config, self._traffic):
            if login_s > env.now:
                yield env.timeout(login_s - env.now)
            replica = likely_replica(self._router, adapter, self._schedulers)
            self._prefetchers[replica].ask(adapter, TO_GPU)
            self._wake_when_due(replica)

    def _wake_when_due(self, replica: int) -> None:
        """See that the replica's prefetches are begun at their time."""
        env, due_s = self._env, max(self._prefetchers[replica].next_s, self._env.now)
        if due_s >= self._wakes_at_s[replica]:
            return
        self._wakes_at_s[replica] = due_s
        timeout = env.timeout(due_s - env.now)
        timeout.callbacks.append(lambda _: self._wake(replica, due_s))

    def _wake(self, replica: int, due_s: float) -> None:
        if self._wakes_at_s[replica] != due_s:
            return  # another came before it
        self._wakes_at_s[replica] = inf
        may_load = self._schedulers[replica].tiers.may_prefetch
        for adapter, goal in self._prefetchers[replica].due(self._env.now, may_load):
            self._replicas[replica].prefetch(adapter, goal)
        self._wake_when_due(replica)
