"""A gateway and one replica, told the time: what drives it may be a clock or a record."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from simlora.errors import UserError
from simlora.live.decisions import Decisions
from simlora.scenario.deployment import Deployment
from simlora.serving.admission import AdmissionControl
from simlora.serving.gateway import Gateway
from simlora.serving.loading import Transfer
from simlora.serving.memory import plan_memory
from simlora.serving.memory_watcher import MemoryWatcher
from simlora.serving.phases import book_outside
from simlora.serving.placement import Placement
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import FAILED, REJECTED, RUNNING, WAITING, Request
from simlora.serving.retries import retry_delay_s
from simlora.serving.routing import ROUTING
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.step import StepLog, StepPlan
from simlora.serving.versions import Versions
from simlora.timing import make_timing
from simlora.timing.load_path import load_path
from simlora.workload.demand import tenant_demand

Then = Callable[[float], None]


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
        path = load_path(deployment, 0, self.timing)
        spec = ReplicaSpec(deployment, self.plan, path, prefix_block_tokens)
        self.path = path
        self.scheduler = BatchScheduler(spec, log, ended)
        self.scheduler.listener = self._finished
        self.decisions = Decisions([adapter.name for adapter in deployment.adapters])
        self.scheduler.memory.watch(self.decisions)
        self.separate = scenario.engine.scheduler.batching == "separate"
        self.versions = Versions(deployment)
        self.orders: list[tuple[int, Transfer]] = []
        self.timers: list[tuple[int, float]] = []
        self.steps = 0
        self.on_end: Callable[[Request], None] = lambda _: None  # of requests that had been sent
        self.stopped_retries = False  # clients that are turned away do not come again
        self._now = 0.0
        self._under_way: dict[int, Transfer] = {}
        self._orders_made = 0
        self._timers_set = 0
        self._due: dict[int, Then] = {}
        self._held_back: dict[int, Request] = {}
        self._ended = ended
        self._gateway = Gateway(deployment, lambda _: self.plan.max_model_len)
        self._admission = AdmissionControl(deployment)
        self._router = ROUTING.make(scenario.gateway.routing)
        self._learn = getattr(self._router, "finished", None)
        self._placement = Placement(
            deployment,
            tenant_demand(deployment) if scenario.gateway.placement == "bin_packed" else (),
        )
        self._clients = scenario.workload.clients
        self._retry_after_s = scenario.gateway.admission.retry_after_s
        self._timeouts_s = [scenario.gateway.timeouts_s.get(name) for name in deployment.tier_names]
        self._routing = scenario.gateway.routing

    def watch(self, watcher: MemoryWatcher) -> None:
        """Tell `watcher` about the replica's memory; to be called once, before the run."""
        self.scheduler.memory.watch(_Both(self.decisions, watcher))

    @property
    def over(self) -> bool:
        """Whether every request that has come is at its end."""
        return not self._held_back and not self.scheduler.outstanding

    @property
    def stuck(self) -> bool:
        """Whether nothing will happen any more although requests wait: the scheduler's fault."""
        waits = self._under_way or self._held_back or self.scheduler.wake_at_s(self._now) < inf
        return bool(self.scheduler.outstanding) and not waits and not self._due

    # --- requests -----------------------------------------------------------------------

    def receive(self, request: Request, now: float) -> None:
        """A request has come."""
        self._at(now)
        copy = None
        if self.versions.active:
            copy = self.versions.shadow_of(request, now)
            self.versions.assign(request, now)
        timeout_s = self._timeouts_s[request.tier]
        if timeout_s is not None:
            self._after(timeout_s, lambda at_s: self._give_up(request, "timeout", at_s))
        self._let_in(request, now)
        if copy is not None:
            self._dispatch(copy, now)
        self._collect()

    def ring(self, number: int, now: float) -> None:
        """A timer is over."""
        self._at(now)
        self._due.pop(number)(now)
        self._collect()

    def _let_in(self, request: Request, now: float) -> None:
        wait_s = self._gateway.admit(request, now)
        if wait_s < 0:
            self._turn_away(request, now)
        elif wait_s == 0:
            self._dispatch(request, now)
        else:
            self._hold_back(request, wait_s, self._dispatch)

    def _hold_back(
        self, request: Request, wait_s: float, then: Callable[[Request, float], None]
    ) -> None:
        def go_on(now: float) -> None:
            if self._held_back.pop(request.index, None) is not None:
                then(request, now)

        self.decisions.held_back(request, wait_s)
        self._held_back[request.index] = request
        self._after(wait_s, go_on)

    def _turn_away(self, request: Request, now: float) -> None:
        """A request is refused: its client asks again, or gives up."""
        delay_s = None if self.stopped_retries else retry_delay_s(self._clients, request)
        if delay_s is None:
            request.status = REJECTED
        self.decisions.turned_away(request)
        if delay_s is None:
            request.finish_s = now
            self._ended.append(request)
            return
        request.attempts += 1
        request.reason, request.retry_after_s = "", -1.0
        self._hold_back(request, delay_s, self._let_in)

    def _dispatch(self, request: Request, now: float) -> None:
        choices = self._placement.choices(request.tenant, request.adapter)
        replicas = [self.scheduler] if any(0 in numbers for numbers in choices) else []
        if not replicas:  # those that may serve it are not run
            request.reason, request.retry_after_s = "unavailable", self._retry_after_s
            self._turn_away(request, now)
            return
        if not self._admission.admits(request, replicas):
            self._turn_away(request, now)
            return
        if (choice := self._router.choose(request, replicas)) != 0:
            raise UserError(
                f"gateway.routing: {self._routing} chose replica {choice!r}; allowed is 0"
            )
        request.replica = 0
        self.decisions.sent(request)
        if not self.scheduler.submit(request, now):
            self._turn_away(request, now)

    def give_up(self, request: Request, reason: str, now: float) -> None:
        """Nobody waits for a request, which has been received, any more."""
        self._at(now)
        self._give_up(request, reason, now)
        self._collect()

    def _give_up(self, request: Request, reason: str, now: float) -> None:
        if request.status not in (WAITING, RUNNING):
            return
        if self._held_back.pop(request.index, None) is None:
            running = request.status == RUNNING
            self.scheduler.withdrawals.give_up(request, reason, now)
            if not running:
                self.decisions.failed(request)
            return
        book_outside(request, now)
        request.reason = reason
        request.status = FAILED
        request.finish_s = now
        self.decisions.failed(request)
        self._ended.append(request)

    def _finished(self, request: Request, scheduler: BatchScheduler) -> None:
        self.on_end(request)
        if self._learn is not None:
            self._learn(request, scheduler)
        if self.versions.active:
            self.versions.finished(request, self._now)

    # --- the replica --------------------------------------------------------------------

    def transfer_done(self, number: int, now: float, *, failed: bool = False) -> None:
        """A transfer has been carried out, or has failed."""
        self._at(now)
        transfer = self._under_way.pop(number)
        waiting = list(transfer.adapter.waiting)
        self.scheduler.transfer_done(transfer, now, failed=failed)
        for request in waiting if failed else ():
            if request.status == FAILED:
                self.decisions.failed(request)
        self._collect()

    def wants_step(self, now: float) -> bool:
        """Whether `schedule` might do something, now that no step is in flight."""
        return self.scheduler.wants_step(now)

    def schedule(self, now: float) -> StepPlan | None:
        """The next step, if there is anything to compute."""
        self._at(now)
        plan = self.scheduler.schedule(now)
        self.decisions.settle()
        self._collect()
        if plan is None:
            return None
        plan.steps = 1
        decoding = [] if self.pauses(plan) else self.decoding()
        self.decisions.stepped(plan, [request.index for request in decoding])
        return plan

    def pauses(self, plan: StepPlan) -> bool:
        """Whether the decoding requests pause for the step."""
        return self.separate and bool(plan.chunks)

    def decoding(self) -> list[Request]:
        """The requests past their prefill, in order of admission."""
        return [r for r in self.scheduler.running.values() if r.finish_step >= 0]

    def complete(self, now: float, span_s: float, load_s: float) -> None:
        """The step has been done in `span_s` seconds, `load_s` of them for its loads."""
        self._at(now)
        self.scheduler.complete(now, 1, span_s, load_s)
        self.decisions.settle()
        self.steps += 1
        self.decisions.step = self.steps
        self._collect()

    def cut(self, now: float) -> list[Request]:
        """The run ends here. Returns the requests that are unfinished."""
        held = list(self._held_back.values())
        for request in held:
            book_outside(request, now)
        return [*self.scheduler.withdrawals.cut(now), *held]

    # --- what to wait for ---------------------------------------------------------------

    def _at(self, now: float) -> None:
        self._now = now
        self.decisions.at(now)

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
            self.decisions.ordered(transfer)
        outbox.clear()


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
