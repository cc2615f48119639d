"""A run in virtual time: one process of arrivals, one a replica, one that reads the gauges."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from itertools import repeat

from simpy import Environment
from simpy.events import Event

from simlora.errors import UserError
from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment
from simlora.serving.gateway import Gateway
from simlora.serving.memory import MemoryPlan, plan_memory
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import REJECTED, Request
from simlora.serving.retries import retry_delay_s
from simlora.serving.routing import ROUTING
from simlora.serving.scheduler import BatchScheduler
from simlora.sim.events import GAUGES, After
from simlora.sim.faults import LoadFaults
from simlora.sim.foresight import future_of
from simlora.sim.interrupts import interruptible
from simlora.sim.prefetching import Prefetching
from simlora.sim.replica import ReplicaProcess
from simlora.timing import TimingModel, make_timing
from simlora.timing.load_path import load_path
from simlora.workload.blocks import Traffic

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
        self.timings: list[TimingModel] = []
        self.plans: list[MemoryPlan] = []  # one a replica
        self.replicas: list[ReplicaProcess] = []
        self._deployment = deployment
        self._tier_of = [tenant.tier for tenant in deployment.tenants]
        self._traffic = traffic
        self._arrivals_over = False
        self._held_back: dict[int, Request] = {}  # by the gateway, or on their way from it
        self._done: Event = self.env.event()
        next_use = future_of(deployment, traffic)
        for pool_index, pool in enumerate(scenario.fleet):
            timing = timing_of(deployment, pool_index)
            plan = plan_memory(deployment, pool_index)
            path = load_path(deployment, pool_index, timing)
            spec = ReplicaSpec(deployment, plan, path, traffic.prefix_block_tokens, next_use)
            self.timings.append(timing)
            for _ in range(pool.replicas):
                self.plans.append(plan)
                self.replicas.append(
                    ReplicaProcess(
                        self.env,
                        BatchScheduler(
                            spec, recorder.add_replica(), recorder.pending, len(self.replicas)
                        ),
                        timing,
                        path.links_bytes_per_s,
                        scenario.run.fast_forward,
                        LoadFaults(deployment, len(self.replicas)).fails,
                        self._stop_if_done,
                    )
                )
        # The same for all pools: it is the profile's.
        self._overhead_s = self.timings[0].request_overhead_s
        self._schedulers = [replica.scheduler for replica in self.replicas]
        self._gateway = Gateway(deployment, self.plans[0].max_model_len)
        self._router = ROUTING.make(scenario.gateway.routing)
        for scheduler in self._schedulers:
            scheduler.listener = getattr(self._router, "finished", None)
        self._clients = scenario.workload.clients
        self._prefetching: Prefetching | None = None
        if scenario.adapters.prefetch.ahead:
            self._prefetching = Prefetching(
                self.env, deployment, traffic, self.replicas, self._router
            )

    def run(self, progress: Progress | None = None) -> bool:
        """Simulate to the end, or until Ctrl-C: then True is returned, and what is unfinished is
        recorded as such either way."""
        self.env.process(self._read_gauges())
        self.env.process(self._arrive(progress))
        with interruptible(self._end) as interruption:
            self.env.run(until=self._done)
        for replica in self.replicas:
            self.recorder.pending.extend(replica.cut())
        for request in self._held_back.values():
            request.queue_s = self.env.now - request.arrival_s
            self.recorder.pending.append(request)
        return interruption.asked

    # --- arrivals -----------------------------------------------------------------------

    def _arrive(self, progress: Progress | None) -> Generator[Event, None, None]:
        env, tier_of = self.env, self._tier_of
        reported_s = time.monotonic()
        for block in self._traffic.blocks():
            hashes = block.prefix_hashes if block.prefix_hashes is not None else repeat(None)
            for arrival_s, tenant, adapter, prompt, output, session, priority, prefix in zip(
                block.arrival_s.tolist(),
                block.tenant.tolist(),
                block.adapter.tolist(),
                block.prompt_tokens.tolist(),
                block.output_tokens.tolist(),
                block.session.tolist(),
                block.priority.tolist(),
                hashes,
                strict=False,  # `hashes` may be endless
            ):
                if arrival_s > env.now:
                    yield env.timeout(arrival_s - env.now)
                request = Request(
                    self.arrived,
                    arrival_s,
                    tenant,
                    tier_of[tenant],
                    adapter,
                    prompt,
                    output,
                    session,
                    priority,
                    prefix,
                )
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
        self._let_in(request, request.arrival_s)

    def _let_in(self, request: Request, now: float) -> None:
        """The gateway's decision about a request."""
        wait_s = self._gateway.admit(request, now)
        if wait_s < 0:
            self._turn_away(request, now)
        elif wait_s + self._overhead_s == 0:
            self._dispatch(request, now)
        else:
            self._hold_back(request, wait_s + self._overhead_s, self._dispatch)

    def _hold_back(
        self, request: Request, wait_s: float, then: Callable[[Request, float], None]
    ) -> None:
        """Go on with a request after a while."""

        def go_on(_: Event) -> None:
            del self._held_back[request.index]
            then(request, self.env.now)
            self._stop_if_done()  # it may have been refused there

        self._held_back[request.index] = request
        self.env.timeout(wait_s).callbacks.append(go_on)

    def _turn_away(self, request: Request, now: float) -> None:
        """A request is refused: its client asks again, or gives up."""
        delay_s = retry_delay_s(self._clients, request)
        if delay_s is None:
            request.status = REJECTED
            request.finish_s = now
            self.recorder.pending.append(request)
            return
        request.attempts += 1
        request.reason, request.retry_after_s = "", -1.0
        self._hold_back(request, delay_s, self._let_in)

    def _dispatch(self, request: Request, now: float) -> None:
        replica = self._router.choose(request, self._schedulers)
        if not 0 <= replica < len(self.replicas):
            raise UserError(
                f"gateway.routing: {self._deployment.scenario.gateway.routing} chose replica "
                f"{replica!r}; allowed are 0 to {len(self.replicas) - 1}"
            )
        request.replica = replica
        if not self.replicas[replica].submit(request, now):
            self._turn_away(request, now)
        if self._prefetching is not None and request.adapter >= 0:
            self._prefetching.requested(replica, request.adapter)

    # --- the end ------------------------------------------------------------------------

    def _end(self) -> None:
        """End the run at the next event."""
        if not self._done.triggered:
            self._done.succeed()

    def _stop_if_done(self) -> None:
        """End the run once nothing is left to do."""
        if not self._arrivals_over or self._held_back or self._done.triggered:
            return
        if not all(replica.idle for replica in self.replicas):
            return
        if not any(scheduler.outstanding for scheduler in self._schedulers):
            self._done.succeed()
        elif not any(link.active for replica in self.replicas for link in replica.links):
            waiting = [scheduler.outstanding for scheduler in self._schedulers]
            raise RuntimeError(f"nothing happens any more, but requests wait: {waiting}")

    def _read_gauges(self) -> Generator[Event, None, None]:
        env, recorder = self.env, self.recorder
        while True:
            for index, replica in enumerate(self.replicas):
                recorder.sample(env.now, index, *replica.gauges())
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
