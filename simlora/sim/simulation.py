"""A run in virtual time: one process of arrivals, one a replica, one that reads the gauges."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from simpy import Environment
from simpy.events import Event

from simlora.results.decisions import Decisions, Line
from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment
from simlora.serving.front_door import FrontDoor, Then
from simlora.serving.memory import MemoryPlan
from simlora.serving.placement import Placement
from simlora.serving.request import Request
from simlora.sim.autoscaling import Autoscaling
from simlora.sim.events import GAUGES, After
from simlora.sim.fleet import Fleet
from simlora.sim.happenings import Happenings
from simlora.sim.interrupts import interruptible
from simlora.sim.prefetching import Prefetching
from simlora.sim.replica import ReplicaProcess
from simlora.timing import TimingModel, make_timing
from simlora.workload.blocks import Traffic
from simlora.workload.demand import tenant_demand
from simlora.workload.prefix_blocks import check_prefix_blocks
from simlora.workload.requests import requests_in, tenant_tiers

Progress = Callable[[float, int], None]  # simulated seconds, requests that have arrived
PROGRESS_EVERY_S = 0.1  # of real time, at most


class Simulation:
    """The whole platform for one deployment and its traffic. `run` may be called once.

    `timing_of` gives the timing model of a fleet entry. `log` is given every decision, from time to
    time those made since; then every step is taken by itself.
    """

    def __init__(
        self,
        deployment: Deployment,
        traffic: Traffic,
        recorder: Recorder,
        timing_of: Callable[[Deployment, int], TimingModel] = make_timing,
        log: Callable[[list[Line]], None] | None = None,
    ) -> None:
        scenario = deployment.scenario
        check_prefix_blocks(scenario, traffic)
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
        self._log = log
        self._decisions: Decisions | None = None
        if log is not None:
            names = [adapter.name for adapter in deployment.adapters]
            replicas = sum(pool.replicas for pool in scenario.fleet)
            self._decisions = Decisions(names, lambda: self.env.now, replicas)
        self.fleet = Fleet(
            self.env, deployment, traffic, recorder, timing_of, self.placement, self._decisions
        )
        self.fleet.on_idle = self._stop_if_done
        self._door = FrontDoor(
            deployment,
            self.fleet,
            self.placement,
            self._after,
            recorder.pending,
            # The replica is not chosen yet, so of several kinds the slowest counts.
            overhead_s=max(timing.request_overhead_s for timing in self.fleet.timings),
            watcher=self._decisions,
        )
        self.versions = self._door.versions
        if self._door.learns:
            self.fleet.finished = self._door.finished
        self._door.on_quiet = self._stop_if_done
        self._door.on_wait = self._find_replica
        self._autoscaling = Autoscaling(self.env, deployment, self.fleet, self._door.homeless.count)
        Happenings(self.env, deployment, self.fleet, self._lost)
        self.fleet.on_up = self._came_up
        self._prefetching: Prefetching | None = None
        if scenario.adapters.prefetch.ahead:
            self._prefetching = Prefetching(
                self.env, deployment, traffic, self.fleet, self._door.router
            )
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
        self.env.process(self._read_gauges(progress))
        self.env.process(self._arrive())
        with interruptible(self._end) as interruption:
            self.env.run(until=self._done)
        for replica in self.fleet.busy:
            self.recorder.pending.extend(replica.cut())
        self.recorder.pending.extend(self._door.cut(self.env.now))
        self._hand_over_decisions()
        return interruption.asked

    # --- arrivals -----------------------------------------------------------------------

    def _arrive(self) -> Generator[Event, None, None]:
        env, tier_of = self.env, self._tier_of
        for block in self._traffic.blocks():
            for request in requests_in(block, self.arrived, tier_of):
                if request.arrival_s > env.now:
                    yield env.timeout(request.arrival_s - env.now)
                self.arrived += 1
                self._receive(request)
            self._flush_if_full()
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
        self._door.receive(request, request.arrival_s)

    def _after(self, delay_s: float, then: Then) -> None:
        """Call back `delay_s` from now."""
        self.env.timeout(delay_s).callbacks.append(lambda _: then(self.env.now))

    # --- replicas that come and go ------------------------------------------------------

    def _lost(self, requests: list[Request]) -> None:
        """The replicas of these requests have broken down."""
        self._door.lost(requests, self.env.now)

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

    def _read_gauges(self, progress: Progress | None) -> Generator[Event, None, None]:
        env, recorder = self.env, self.recorder
        reported_s = time.monotonic()
        while True:
            for number in range(len(self.fleet.members)):
                recorder.sample(env.now, number, *self.fleet.gauges(number))
            self._flush_if_full()
            self._hand_over_decisions()
            if progress is not None and time.monotonic() - reported_s > PROGRESS_EVERY_S:
                reported_s = time.monotonic()
                progress(env.now, self.arrived)
            interval_s = recorder.sample_interval_s
            next_s = (int(env.now / interval_s + 1e-6) + 1) * interval_s
            yield After(env, next_s - env.now, GAUGES)

    def _hand_over_decisions(self) -> None:
        if self._log is not None and self._decisions is not None:
            self._log(self._decisions.drain())
