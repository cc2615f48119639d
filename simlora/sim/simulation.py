"""A run in virtual time: one process of arrivals, one a replica, one that reads the gauges."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from simpy import Environment
from simpy.events import Event

from simlora.errors import UserError
from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment
from simlora.serving.memory import MemoryPlan
from simlora.serving.placement import Placement
from simlora.serving.request import Request
from simlora.serving.routing import ROUTING
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.versions import Versions
from simlora.sim.autoscaling import Autoscaling
from simlora.sim.events import GAUGES, After
from simlora.sim.fleet import Fleet
from simlora.sim.front_door import FrontDoor
from simlora.sim.happenings import Happenings
from simlora.sim.interrupts import interruptible
from simlora.sim.prefetching import Prefetching
from simlora.sim.replica import ReplicaProcess
from simlora.timing import TimingModel, make_timing
from simlora.workload.blocks import Traffic
from simlora.workload.demand import tenant_demand
from simlora.workload.requests import requests_in, tenant_tiers

Finished = Callable[[Request, BatchScheduler], None]
Progress = Callable[[float, int], None]  # simulated seconds, requests that have arrived


class Simulation:
    """The whole platform for one deployment and its traffic. `run` may be called once.

    `timing_of` gives the timing model of a fleet entry.
    """

    def __init__(
        self,
        deployment: Deployment,
        traffic: Traffic,
        recorder: Recorder,
        timing_of: Callable[[Deployment, int], TimingModel] = make_timing,
    ) -> None:
        scenario = deployment.scenario
        _check_prefix_blocks(deployment, traffic)
        self.env = Environment()
        self.recorder = recorder
        self.arrived = 0
        self._deployment = deployment
        self._tier_of = tenant_tiers(deployment)
        self._traffic = traffic
        self._arrivals_over = False
        self._done: Event = self.env.event()
        self.placement = Placement(
            deployment,
            tenant_demand(deployment) if scenario.gateway.placement == "bin_packed" else (),
        )
        router = ROUTING.make(scenario.gateway.routing)
        self.fleet = Fleet(self.env, deployment, traffic, recorder, timing_of, self.placement)
        self.fleet.on_idle = self._stop_if_done
        self.versions = Versions(deployment)
        self._learn: Finished | None = getattr(router, "finished", None)
        self.fleet.finished = self._finished if self.versions.active else self._learn
        self._door = FrontDoor(
            self.env,
            deployment,
            self.fleet,
            self.placement,
            router,
            self.versions,
            recorder.pending,
        )
        self._door.on_quiet = self._stop_if_done
        self._door.on_wait = self._find_replica
        self._autoscaling = Autoscaling(self.env, deployment, self.fleet, self._door.homeless.count)
        Happenings(self.env, deployment, self.fleet, self._door.lost)
        self.fleet.on_up = self._came_up
        self._prefetching: Prefetching | None = None
        if scenario.adapters.prefetch.ahead:
            self._prefetching = Prefetching(self.env, deployment, traffic, self.fleet, router)
            self._door.on_sent = self._prefetching.requested

    @property
    def timings(self) -> list[TimingModel]:
        """The timing model of each fleet entry."""
        return self.fleet.timings

    @property
    def plans(self) -> list[MemoryPlan]:
        """The memory of each place in the fleet."""
        return self.fleet.plans

    @property
    def replicas(self) -> list[ReplicaProcess]:
        """All replicas that there have been, by their place in the fleet."""
        return self.fleet.lives

    def run(self, progress: Progress | None = None) -> bool:
        """Simulate to the end, or until Ctrl-C: then True is returned, and what is unfinished is
        recorded as such either way."""
        self.env.process(self._read_gauges())
        self.env.process(self._arrive(progress))
        with interruptible(self._end) as interruption:
            self.env.run(until=self._done)
        for replica in self.fleet.busy:
            self.recorder.pending.extend(replica.cut())
        self.recorder.pending.extend(self._door.cut())
        return interruption.asked

    # --- arrivals -----------------------------------------------------------------------

    def _arrive(self, progress: Progress | None) -> Generator[Event, None, None]:
        env, tier_of = self.env, self._tier_of
        reported_s = time.monotonic()
        for block in self._traffic.blocks():
            for request in requests_in(block, self.arrived, tier_of):
                if request.arrival_s > env.now:
                    yield env.timeout(request.arrival_s - env.now)
                self.arrived += 1
                self._receive(request)
            self._flush_if_full()
            if progress is not None and time.monotonic() - reported_s > 0.1:
                reported_s = time.monotonic()
                progress(env.now, self.arrived)
        self._arrivals_over = True
        end_s = self._traffic.duration_s
        if self._deployment.scenario.workload.on_end == "discard":
            if end_s is not None and end_s > env.now:
                yield env.timeout(end_s - env.now)
            self._end()
        else:
            self._stop_if_done()

    def _flush_if_full(self) -> None:
        if len(self.recorder.pending) >= self.recorder.FLUSH_REQUESTS:
            self.recorder.flush()

    def _receive(self, request: Request) -> None:
        """A request arrives now."""
        if self.versions.active:
            self.versions.assign(request, request.arrival_s)
        self._door.receive(request, request.arrival_s)

    def _finished(self, request: Request, scheduler: BatchScheduler) -> None:
        """A request has ended on a replica: tell those who learn from it."""
        if self._learn is not None:
            self._learn(request, scheduler)
        self.versions.finished(request, self.env.now)

    def _came_up(self, number: int) -> None:
        """A replica has come up during the run."""
        if self._prefetching is not None:
            self._prefetching.came_up(number)
        self._door.house()

    def _find_replica(self, request: Request) -> None:
        """No replica that a request prefers is up: one may be to be started."""
        homeless = self._door.homeless
        more = int(request.index not in homeless.requests)
        for pool in homeless.pools_of(request):
            self._autoscaling.look(pool, more)

    # --- the end ------------------------------------------------------------------------

    def _end(self) -> None:
        """End the run at the next event."""
        if not self._done.triggered:
            self._done.succeed()

    def _stop_if_done(self) -> None:
        """End the run once nothing is left to do."""
        if not self._arrivals_over or not self._door.empty or self._done.triggered:
            return
        replicas = self.fleet.busy
        if not all(replica.idle for replica in replicas):
            return
        waiting = [replica.scheduler.outstanding for replica in replicas]
        if not any(waiting):
            self._done.succeed()
        elif not any(link.active for replica in replicas for link in replica.links):
            raise RuntimeError(f"nothing happens any more, but requests wait: {waiting}")

    def _read_gauges(self) -> Generator[Event, None, None]:
        env, recorder = self.env, self.recorder
        while True:
            for number in range(len(self.fleet.members)):
                recorder.sample(env.now, number, *self.fleet.gauges(number))
            self._flush_if_full()
            interval_s = recorder.sample_interval_s
            next_s = (int(env.now / interval_s + 1e-6) + 1) * interval_s
            yield After(env, next_s - env.now, GAUGES)


def _check_prefix_blocks(deployment: Deployment, traffic: Traffic) -> None:
    engine = deployment.scenario.engine
    if engine.prefix_cache.enabled and traffic.prefix_block_tokens % engine.kv_block_tokens:
        raise UserError(
            f"engine.kv_block_tokens: {engine.kv_block_tokens} does not divide the "
            f"{traffic.prefix_block_tokens} tokens that a prefix hash of the workload stands for; "
            "choose a divisor or disable engine.prefix_cache"
        )
