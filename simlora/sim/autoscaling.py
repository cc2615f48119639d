"""Pools that grow and shrink with their load, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Generator

from simpy import Environment
from simpy.events import Event

from simlora.scenario.autoscale import Autoscale
from simlora.scenario.deployment import Deployment
from simlora.serving.autoscaler import Autoscaler
from simlora.sim.fleet import DRAINING, OFF, STARTING, UP, Fleet


class Autoscaling:
    """Asks the autoscaler of each pool from time to time, and lets the fleet follow. `held` tells
    how many requests wait before a pool because none of its replicas is up."""

    def __init__(
        self,
        env: Environment,
        deployment: Deployment,
        fleet: Fleet,
        held: Callable[[int], int],
    ) -> None:
        self._env = env
        self._fleet = fleet
        self._held = held
        self._pools: dict[int, tuple[Autoscale, Autoscaler]] = {}
        for index, pool in enumerate(deployment.scenario.fleet):
            if pool.autoscale is not None:
                scaler = Autoscaler(pool.autoscale, pool.replicas)
                self._pools[index] = pool.autoscale, scaler
                env.process(self._look_regularly(index, pool.autoscale.interval_s))

    def _look_regularly(self, pool: int, interval_s: float) -> Generator[Event, None, None]:
        while True:
            self.look(pool)
            yield self._env.timeout(interval_s)

    def look(self, pool: int, more: int = 0) -> None:
        """See that an autoscaled pool has the replicas it should have; `more` requests would have
        come to it that have gone elsewhere."""
        config, scaler = self._pools[pool]
        fleet, members = self._fleet, self._fleet.of_pool(pool)
        unfinished = (
            more
            + self._held(pool)
            + sum(member.process.scheduler.outstanding for member in members if member.running)
        )
        wanted = scaler.wanted(unfinished, self._env.now)
        # One that is down serves nobody; another takes its place until it is back.
        there = [member for member in members if member.state in (STARTING, UP)]
        missing = wanted - len(there)
        # One that still drains is up at once.
        for state in (DRAINING, OFF):
            for member in members:
                if missing > 0 and member.state == state and not member.losses:
                    fleet.start(member, config.startup_s)
                    missing -= 1
        # The latest go first, those that are not up yet before all others.
        for state in (STARTING, UP):
            for member in reversed(there):
                if missing < 0 and member.state == state:
                    fleet.stop(member)
                    missing += 1
