"""The replicas of a run: which are up, what runs on them, and how long they are paid for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simpy import Environment

from simlora.results.decisions import Decisions
from simlora.results.logged_scheduler import LoggedScheduler
from simlora.results.recorder import Recorder
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import Deployment
from simlora.serving.memory import MemoryPlan, plan_memory
from simlora.serving.placement import Choices, Placement
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler
from simlora.sim.faults import LoadFaults, Outages
from simlora.sim.foresight import future_of
from simlora.sim.replica import ReplicaProcess
from simlora.timing import TimingModel
from simlora.timing.load_path import load_path
from simlora.workload.blocks import Traffic

OFF, STARTING, UP, DRAINING, DOWN = range(5)
_PAID = (STARTING, UP, DRAINING, DOWN)
NOTHING = (0, 0, 0, 0, 0, 0, 0)  # gauges of a replica that is not there


class Member:
    """One place in the fleet, and the replica that runs there, if one does.

    Each start makes a new replica, with empty memory; `lives` are all of them.
    """

    def __init__(
        self,
        number: int,
        pool: int,
        spec: ReplicaSpec,
        timing: TimingModel,
        log: StepLog,
        faults: LoadFaults,
    ) -> None:
        self.number = number
        self.pool = pool
        self.spec = spec
        self.timing = timing
        self.log = log
        self.state = OFF
        self.lives: list[ReplicaProcess] = []
        self.faults = faults
        scenario = spec.deployment.scenario
        self.scaled = scenario.fleet[pool].autoscale is not None  # it may be started and stopped
        self.slowness = 1.0
        self.startup_s = 0.0  # of its present start
        self.version = 0  # of its state; what was planned for an older one is void
        self.losses = 0  # that it has not recovered from
        self.paid_s = 0.0  # up to _since_s
        self._since_s = 0.0

    @property
    def process(self) -> ReplicaProcess:
        """The latest of its lives."""
        return self.lives[-1]

    @property
    def running(self) -> bool:
        """Whether requests are served here."""
        return self.state in (UP, DRAINING)

    def change(self, state: int, now: float) -> None:
        """It is in another state from now on."""
        self.paid_s = self.paid_until(now)
        self._since_s = now
        self.state = state
        self.version += 1

    def paid_until(self, now: float) -> float:
        """Seconds that it has been paid for: from its start on until it is off, also while it is
        down."""
        return self.paid_s + (now - self._since_s if self.state in _PAID else 0.0)


class Fleet:
    """Starts, stops and loses replicas, and knows which may take a request.

    `on_idle` is called when a replica has nothing to do, `on_up` with the number of one that has
    come up, `finished` with each request that ends on one. `decisions`: what the replicas decide is
    taken down there, step by step.
    """

    may_come_up = True  # a replica that is not up

    def __init__(
        self,
        env: Environment,
        deployment: Deployment,
        traffic: Traffic,
        recorder: Recorder,
        timing_of: Callable[[Deployment, int], TimingModel],
        placement: Placement,
        decisions: Decisions | None = None,
    ) -> None:
        scenario = deployment.scenario
        self.timings: list[TimingModel] = []
        self.plans: list[MemoryPlan] = []  # one a member
        self.members: list[Member] = []
        self.outages = Outages()
        self.on_idle: Callable[[], None] = lambda: None
        self.on_up: Callable[[int], None] = lambda _: None
        self.finished: Callable[[Request, BatchScheduler], None] | None = None
        self._env = env
        self._finished_requests = recorder.pending
        self._placement = placement
        self._decisions = decisions
        self._fast_forward = scenario.run.fast_forward
        self._candidates: dict[int, list[BatchScheduler]] = {}  # by id of the choices
        next_use = future_of(deployment, traffic)
        for pool_index, pool in enumerate(scenario.fleet):
            timing = timing_of(deployment, pool_index)
            plan = plan_memory(deployment, pool_index)
            path = load_path(deployment, pool_index, timing)
            spec = ReplicaSpec(deployment, plan, path, traffic.prefix_block_tokens, next_use)
            self.timings.append(timing)
            scaling = pool.autoscale
            up = pool.replicas
            if scaling is not None:
                up = scaling.min if scaling.initial is None else scaling.initial
            for place in range(pool.replicas):
                number = len(self.members)
                faults = LoadFaults(deployment, number, self.outages)
                log = recorder.add_replica()
                member = Member(number, pool_index, spec, timing, log, faults)
                self.plans.append(plan)
                self.members.append(member)
                if place < up:
                    self._bring_up(member)

    @property
    def lives(self) -> list[ReplicaProcess]:
        """All replicas that there have been."""
        return [process for member in self.members for process in member.lives]

    @property
    def busy(self) -> list[ReplicaProcess]:
        """Those that serve requests now."""
        return [member.process for member in self.members if member.running]

    def startable(self, number: int) -> bool:
        """Whether a member is of an autoscaled pool and not broken."""
        member = self.members[number]
        return member.scaled and not member.losses

    def of_pool(self, pool: int) -> list[Member]:
        """The members of a fleet entry."""
        return [member for member in self.members if member.pool == pool]

    # --- requests -----------------------------------------------------------------------

    def longest(self, number: int) -> int:
        """The most tokens, prompt and answer together, that a replica takes of a request."""
        return self.plans[number].max_model_len

    def serves(self, number: int) -> bool:
        """Whether requests are served by a replica now."""
        return self.members[number].running

    def submit(self, request: Request, now: float) -> bool:
        """A request reaches its replica. False: it is turned away there."""
        return self.members[request.replica].process.submit(request, now)

    def give_up(self, request: Request, reason: str, now: float) -> None:
        """Nobody waits any more for a request that is on its replica."""
        self.members[request.replica].process.give_up(request, reason)

    # --- who may serve ------------------------------------------------------------------

    def candidates(self, tenant: int, adapter: int) -> Sequence[BatchScheduler]:
        """The replicas that are up and may serve the tenant's requests with an adapter, of the
        preferred ones among them; empty if there is none."""
        choices = self._placement.choices(tenant, adapter)
        found = self._candidates.get(id(choices))
        if found is None:
            found = self._candidates[id(choices)] = self._up(choices)
        return found

    def _up(self, choices: Choices) -> list[BatchScheduler]:
        for numbers in choices:
            members = [self.members[number] for number in numbers]
            up = [member.process.scheduler for member in members if member.state == UP]
            if up:
                return up
        return []

    # --- coming and going ---------------------------------------------------------------

    def _bring_up(self, member: Member) -> None:
        member.change(UP, self._env.now)
        scheduler = self._scheduler(member)
        scheduler.listener = self._heard
        process = ReplicaProcess(
            self._env,
            scheduler,
            member.timing,
            member.spec.path.links_bytes_per_s,
            self._fast_forward,
            member.faults.fails,
            lambda: self._idle(member),
        )
        process.slow_down(member.slowness)
        member.lives.append(process)
        self._candidates.clear()

    def _scheduler(self, member: Member) -> BatchScheduler:
        spec, log, number = member.spec, member.log, member.number
        if self._decisions is None:
            return BatchScheduler(spec, log, self._finished_requests, number)
        decisions = self._decisions.new_replica(number)
        return LoggedScheduler(spec, log, self._finished_requests, number, decisions)

    def _heard(self, request: Request, scheduler: BatchScheduler) -> None:
        if self.finished is not None:
            self.finished(request, scheduler)

    def _idle(self, member: Member) -> None:
        if member.state == DRAINING and not member.process.scheduler.outstanding:
            self._switch_off(member)
        self.on_idle()

    def start(self, member: Member, startup_s: float) -> None:
        """Rent a member that is off, or let one that drains go on; it is up after `startup_s`."""
        if member.state == DRAINING:
            member.change(UP, self._env.now)
            self._candidates.clear()
            self.on_up(member.number)
        elif member.state == OFF:
            member.change(STARTING, self._env.now)
            member.startup_s = startup_s
            self._later(startup_s, member, lambda: self._come_up(member))

    def _come_up(self, member: Member) -> None:
        self._bring_up(member)
        self.on_up(member.number)

    def stop(self, member: Member) -> None:
        """Let a member take no more requests; when its last one is done it is off."""
        if member.state == STARTING:
            member.change(OFF, self._env.now)
        elif member.state == UP:
            member.change(DRAINING, self._env.now)
            self._candidates.clear()
            if not member.process.scheduler.outstanding:
                self._switch_off(member)
                self.on_idle()  # it may have been in a step for nobody

    def _switch_off(self, member: Member) -> None:
        member.process.close()
        member.process.scheduler.memory.pool.release_all()
        member.change(OFF, self._env.now)

    def lose(self, member: Member, duration_s: float) -> list[Request]:
        """A member breaks down for a while; then it is up again, or starts again if it was only
        starting, unless it was to be off, or is down for another reason still. Returns the requests
        that it had."""
        member.losses += 1
        timeout = self._env.timeout(duration_s)
        timeout.callbacks.append(lambda _: self._recover(member))
        if member.state not in (STARTING, UP, DRAINING):
            return []
        requests = member.process.lose() if member.running else []
        if member.state != STARTING:
            member.startup_s = 0.0
        # What was to be off when its requests are done has none any more.
        member.change(OFF if member.state == DRAINING else DOWN, self._env.now)
        self._candidates.clear()
        return requests

    def _recover(self, member: Member) -> None:
        member.losses -= 1
        if member.losses or member.state != DOWN:
            return
        if not member.startup_s:
            self._come_up(member)
            return
        member.change(OFF, self._env.now)
        self.start(member, member.startup_s)

    def _later(self, delay_s: float, member: Member, then: Callable[[], None]) -> None:
        """Do something after a while, unless the member's state has changed by then."""
        version = member.version
        timeout = self._env.timeout(delay_s)
        timeout.callbacks.append(lambda _: then() if member.version == version else None)

    def slow_down(self, member: Member, factor: float) -> None:
        """The member's steps take `factor` times as long as before."""
        member.slowness *= factor
        if abs(member.slowness - 1) < 1e-12:
            member.slowness = 1.0  # what was multiplied and divided again
        if member.running:
            member.process.slow_down(member.slowness)

    # --- what it tells ------------------------------------------------------------------

    def gauges(self, number: int) -> tuple[int, ...]:
        """The gauges of a member, and whether it is up."""
        member = self.members[number]
        if not member.running:
            return (*NOTHING, 0)
        return (*member.process.gauges(), 1)

    def paid_s(self, pool: int) -> float:
        """Seconds that the pool's replicas are paid for up to now, added up."""
        return sum(member.paid_until(self._env.now) for member in self.of_pool(pool))
