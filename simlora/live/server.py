"""A gateway and one replica, told the time: what drives it may be a clock or a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from simlora.live.failed_load import fail_load
from simlora.results.decisions import Decisions
from simlora.results.logged_scheduler import LoggedScheduler
from simlora.scenario.deployment import Deployment
from simlora.serving.front_door import FrontDoor, Then
from simlora.serving.loading import Transfer
from simlora.serving.memory import plan_memory
from simlora.serving.memory_watcher import MemoryWatcher
from simlora.serving.placement import Placement
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.step import StepLog, StepPlan
from simlora.timing import make_timing
from simlora.timing.load_path import load_path
from simlora.workload.demand import tenant_demand


class Server:
    """Takes requests through gateway and router to the batch scheduler of the fleet's first
    replica, and tells its driver what to wait for.

    The driver empties `orders` (transfers to carry out) and `timers` (seconds to wait) after each
    call, by the numbers that it is to report them with. It calls `schedule` when no step is in
    flight and `wants_step`, and `complete` after each step. Requests that reach their end go to
    `ended`.
    """

    def __init__(
        self,
        deployment: Deployment,
        prefix_block_tokens: int,
        log: StepLog,
        ended: list[Request],
    ) -> None:
        scenario = deployment.scenario
        self.timing = make_timing(deployment, 0)
        self.plan = plan_memory(deployment, 0)
        self.path = load_path(deployment, 0, self.timing)
        names = [adapter.name for adapter in deployment.adapters]
        self.decisions = Decisions(names, lambda: self._now)
        self.scheduler = LoggedScheduler(
            ReplicaSpec(deployment, self.plan, self.path, prefix_block_tokens),
            log,
            ended,
            0,
            self.decisions.new_replica(0),
        )
        self.scheduler.listener = self._finished
        placement = Placement(
            deployment,
            tenant_demand(deployment) if scenario.gateway.placement == "bin_packed" else (),
        )
        self._door = FrontDoor(
            deployment,
            _OneReplica(self.scheduler, self.plan.max_model_len, placement),
            placement,
            self._after,
            ended,
            watcher=self.decisions,
        )
        self.versions = self._door.versions
        self.orders: list[tuple[int, Transfer]] = []
        self.timers: list[tuple[int, float]] = []
        self.steps = 0
        self.on_end: Callable[[Request], None] = lambda _: None  # of requests that had been sent
        self._now = 0.0
        self._retries = scenario.adapters.loading.retries
        self._under_way: dict[int, Transfer] = {}
        self._orders_made = 0
        self._timers_set = 0
        self._due: dict[int, Then] = {}

    def watch(self, watcher: MemoryWatcher) -> None:
        """Tell `watcher` about the replica's memory; to be called once, before the run."""
        self.scheduler.memory.watch(_Both(self.scheduler.decisions, watcher))

    def read_beside(self) -> None:
        """Before the run: what a load brings may be refused, so that all are read beside the steps,
        where they can be tried again."""
        self.scheduler.tiers.reads_itself = False

    def begin_without(self, adapter: int) -> None:
        """Before the run: an adapter is in none of the tiers that the run begins with it in."""
        tiers = self.scheduler.tiers
        tiers.drop_copies(tiers.state(adapter))

    @property
    def stopped_retries(self) -> bool:
        """Whether clients that are turned away do not come again."""
        return self._door.stopped_retries

    @stopped_retries.setter
    def stopped_retries(self, stopped: bool) -> None:
        self._door.stopped_retries = stopped

    @property
    def over(self) -> bool:
        """Whether every request that has come is at its end."""
        return self._door.empty and not self.scheduler.outstanding

    @property
    def stuck(self) -> bool:
        """Whether nothing will happen any more although requests wait: the scheduler's fault."""
        waits = self._under_way or self._due or self.scheduler.wake_at_s(self._now) < inf
        return bool(self.scheduler.outstanding) and not waits and self._door.empty

    # --- requests -----------------------------------------------------------------------

    def receive(self, request: Request, now: float) -> None:
        """A request has come."""
        self._now = now
        self._door.receive(request, now)
        self._collect()

    def ring(self, number: int, now: float) -> None:
        """A timer is over."""
        self._now = now
        self._due.pop(number)(now)
        self._collect()

    def give_up(self, request: Request, reason: str, now: float) -> None:
        """Nobody waits for a request, which has been received, any more."""
        self._now = now
        self._door.give_up(request, reason, now)
        self._collect()

    def _finished(self, request: Request, scheduler: BatchScheduler) -> None:
        self.on_end(request)
        self._door.finished(request, scheduler)

    # --- the replica --------------------------------------------------------------------

    def transfer_done(
        self, number: int, now: float, *, failed: bool = False, final: bool = False
    ) -> None:
        """A transfer has been carried out, or has failed; with `final` it would fail again, so that
        the load is given up."""
        self._now = now
        transfer = self._under_way.pop(number)
        if final:
            transfer = replace(transfer, attempt=self._retries)
        self.scheduler.transfer_done(transfer, now, failed=failed)
        self._collect()

    def load_failed(self, adapter: int, now: float) -> None:
        """An adapter that the planned step was to wait for could not be loaded; nothing of the step
        has been computed."""
        self._now = now
        fail_load(self.scheduler, self.scheduler.tiers.state(adapter), now)
        self.scheduler.decisions.settle()
        self._collect()

    def wants_step(self, now: float) -> bool:
        """Whether `schedule` might do something, now that no step is in flight."""
        return self.scheduler.wants_step(now)

    def schedule(self, now: float) -> StepPlan | None:
        """The next step, if there is anything to compute."""
        self._now = now
        plan = self.scheduler.schedule(now)
        self._collect()
        return plan

    def pauses(self, plan: StepPlan) -> bool:
        """Whether the decoding requests pause for the step."""
        return self.scheduler.pauses(plan)

    def decoding(self) -> list[Request]:
        """The requests past their prefill, in order of admission."""
        return self.scheduler.past_prefill()

    def complete(self, now: float, span_s: float, load_s: float) -> None:
        """The step has been done in `span_s` seconds, `load_s` of them for its loads."""
        self._now = now
        self.scheduler.complete(now, 1, span_s, load_s)
        self.steps += 1
        self._collect()

    def end_early(self, request: Request, now: float) -> None:
        """A decoding request has said all that it will, at the step boundary that `complete` told:
        it is complete. Raises ValueError if it is not decoding."""
        self._now = now
        self.scheduler.withdrawals.end_early(request, now)
        self.scheduler.decisions.settle()
        self._collect()

    def withdraw(self, adapter: int, now: float) -> None:
        """An adapter goes out of service, as soon as those in the batch are done with it."""
        self._now = now
        self.scheduler.withdrawals.draining.drain(adapter)

    def cut(self, now: float) -> list[Request]:
        """The run ends here. Returns the requests that are unfinished."""
        return [*self.scheduler.withdrawals.cut(now), *self._door.cut(now)]

    # --- what to wait for ---------------------------------------------------------------

    def _after(self, delay_s: float, then: Then) -> None:
        self._due[self._timers_set] = then
        self.timers.append((self._timers_set, delay_s))
        self._timers_set += 1

    def _collect(self) -> None:
        outbox = self.scheduler.tiers.outbox
        for transfer in outbox:
            self._under_way[self._orders_made] = transfer
            self.orders.append((self._orders_made, transfer))
            self._orders_made += 1
        outbox.clear()


class _OneReplica:
    """The fleet's first replica as the front door sees it; the others are not run."""

    may_come_up = False

    def __init__(self, scheduler: BatchScheduler, longest: int, placement: Placement) -> None:
        self._scheduler = scheduler
        self._longest = longest
        self._placement = placement

    def candidates(self, tenant: int, adapter: int) -> Sequence[BatchScheduler]:
        choices = self._placement.choices(tenant, adapter)
        return [self._scheduler] if any(0 in numbers for numbers in choices) else []

    def longest(self, number: int) -> int:
        return self._longest  # also for those whose replicas are not run

    def startable(self, number: int) -> bool:
        return False

    def serves(self, number: int) -> bool:
        return number == 0

    def submit(self, request: Request, now: float) -> bool:
        return self._scheduler.submit(request, now)

    def give_up(self, request: Request, reason: str, now: float) -> None:
        self._scheduler.withdrawals.give_up(request, reason, now)


class _Both:
    """Tells two watchers, one after the other."""

    def __init__(self, first: MemoryWatcher, second: MemoryWatcher) -> None:
        self.admitted = _both(first.admitted, second.admitted)
        self.left = _both(first.left, second.left)
        self.cached = _both(first.cached, second.cached)
        self.forgotten = _both(first.forgotten, second.forgotten)
        self.load_started = _both(first.load_started, second.load_started)
        self.evicted = _both(first.evicted, second.evicted)


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call
