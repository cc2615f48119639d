"""One replica in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

from simpy import Environment
from simpy.events import Event

from simlora.errors import UserError
from simlora.serving.batch_shape import BatchShape
from simlora.serving.loading import PCIE, Transfer
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.step import StepPlan
from simlora.sim.events import BOUNDARY, After
from simlora.sim.link import Link
from simlora.sim.reference import recount
from simlora.timing import TimingModel, run_s, steps_until


class ReplicaProcess:
    """Lets a scheduler's plans take the time that the timing model says.

    A run of alike decode steps is one event. An arrival or a finished transfer cuts it short, at
    the step boundary where the scheduler would act on it. With `fast_forward` off every step is an
    event, and its shape is counted anew from the requests.
    """

    def __init__(
        self,
        env: Environment,
        scheduler: BatchScheduler,
        timing: TimingModel,
        link_bytes_per_s: list[float],
        fast_forward: bool,
        fails: Callable[[Transfer], bool],
        on_idle: Callable[[], None],
    ) -> None:
        self.scheduler = scheduler
        scheduler.memory.unbooked_pages = self._unbooked_pages
        self._idle = True  # waits for something to come in, or for the alarm
        self.events = 0
        self.busy_s = 0.0
        self.running_s = 0.0  # integral of running requests over busy time
        self.steps = 0
        self.links = [Link(env, rate, self._transfer_done) for rate in link_bytes_per_s]
        self._env = env
        self._timing = timing
        self._fast_forward = fast_forward
        self._fails = fails
        self._on_idle = on_idle
        self._boundary: Event = env.event()  # what the process waits for
        self._slowness = 1.0
        self._alarm: Event | None = None  # at the time when the scheduler next wants a step
        self._alarm_s = math.inf
        # The decode run in flight: steps planned (0: none), first step, growth, beginning.
        self._run_steps = 0
        self._run_shape = BatchShape()
        self._run_first_s = 0.0
        self._run_growth_s = 0.0
        self._run_started_s = 0.0
        env.process(self._serve())

    def _unbooked_pages(self) -> int:
        """Pages of the KV blocks that the done steps of the run in flight have opened; they are
        booked when the run is complete."""
        if self._run_steps <= 1:
            return 0
        scheduler = self.scheduler
        return scheduler.decodes.new_blocks(self._steps_done()) * scheduler.memory.block_pages

    @property
    def idle(self) -> bool:
        """Whether nothing happens here for any request until something comes in."""
        return self._idle and (self._alarm is None or not self.scheduler.outstanding)

    def give_up(self, request: Request, reason: str) -> None:
        """A request that is here fails, at the next step boundary if it is running."""
        self.scheduler.withdrawals.give_up(request, reason, self._env.now)
        self._react()
        if self.idle:
            self._on_idle()

    def slow_down(self, factor: float) -> None:
        """From the next step boundary on, steps take `factor` times as long as they should."""
        self._slowness = factor
        if self._run_steps > 1:
            self._end_run_early()

    def leak(self, pages: int) -> None:
        """The pool loses pages at the next step boundary."""
        self.scheduler.leak.grow(pages)
        self._react()

    def lose(self) -> list[Request]:
        """The replica is lost now, and the step in flight with it. Returns its requests, by
        arrival, to go on elsewhere."""
        if self._run_steps > 1:
            steps = self._steps_done()
            if steps and self._run_s(steps) >= self._env.now - self._run_started_s:
                steps -= 1  # one that ends at this very instant is lost
            if steps:
                self._end_run(steps)
        self.close()
        return self.scheduler.withdrawals.evacuate(self._env.now)

    def close(self) -> None:
        """Nothing happens here any more."""
        self._run_steps = 0
        self._idle = True
        self._alarm = None
        self._boundary.callbacks.clear()
        self.scheduler.tiers.outbox.clear()
        for link in self.links:
            link.close()

    def submit(self, request: Request, now: float) -> bool:
        """A request arrives at `now` (the present, but for rounding). False: it is turned away."""
        accepted = self.scheduler.submit(request, now)
        self._react()
        return accepted

    def prefetch(self, adapter: int, goal: int) -> None:
        """An adapter is to be brought up ahead of requests."""
        self.scheduler.tiers.prefetch(adapter, goal, self._env.now)
        self._react()

    def _transfer_done(self, transfer: Transfer) -> None:
        self.events += 1
        self.scheduler.transfer_done(transfer, self._env.now, failed=self._fails(transfer))
        self._react()
        if self.idle:
            self._on_idle()  # what waited may have failed

    def _react(self) -> None:
        """Something has come in: begin a step, or end the decode run early, if it matters."""
        scheduler = self.scheduler
        if scheduler.tiers.outbox:
            self._send_transfers()
        if self._run_steps > 1:
            if scheduler.wants_step(self._env.now):
                self._end_run_early()
        elif self._idle and scheduler.wants_step(self._env.now):
            self._idle = False
            self._move_boundary(0.0)
        if scheduler.wakes:
            self._set_alarm()

    def _set_alarm(self) -> None:
        """React also when the scheduler says that time alone gives it something to do."""
        now = self._env.now
        at_s = self.scheduler.wake_at_s(now)
        if now < at_s < self._alarm_s:
            self._alarm_s = at_s
            self._alarm = self._env.timeout(at_s - now)
            self._alarm.callbacks.append(self._ring)

    def _ring(self, alarm: Event) -> None:
        if alarm is self._alarm:  # else one was set for an earlier time
            self._alarm, self._alarm_s = None, math.inf
            self._react()
            if self.idle:
                self._on_idle()

    def _end_run_early(self) -> None:
        """End the decode run in flight at its next step boundary."""
        elapsed_s = self._env.now - self._run_started_s
        steps = steps_until(elapsed_s, self._run_first_s, self._run_growth_s)
        if steps < self._run_steps:
            self._run_steps = steps
            self._move_boundary(max(0.0, self._run_s(steps) - elapsed_s))

    def _move_boundary(self, delay_s: float) -> None:
        """Let the process wait for an event `delay_s` from now instead of the present one."""
        boundary = After(self._env, delay_s, BOUNDARY)
        boundary.callbacks, self._boundary.callbacks = self._boundary.callbacks, []
        self._boundary = boundary

    def _send_transfers(self) -> None:
        outbox = self.scheduler.tiers.outbox
        for transfer in outbox:
            self.links[transfer.link].start(transfer)
        outbox.clear()

    def _run_s(self, steps: int) -> float:
        return run_s(self._run_first_s, self._run_growth_s, steps)

    def _serve(self) -> Generator[Event, None, None]:
        env, scheduler, timing = self._env, self.scheduler, self._timing
        yield self._boundary
        while True:
            plan = scheduler.schedule(env.now)
            if scheduler.tiers.outbox:
                self._send_transfers()
            if scheduler.wakes:
                self._set_alarm()
            if plan is None:
                self._idle = True
                self._boundary = env.event()
                self._on_idle()
                yield self._boundary
                continue
            self.events += 1
            if not self._fast_forward:
                plan.steps = 1
                plan.timed = recount(scheduler, plan)
            steps, shape = plan.steps, plan.timed
            if steps == 1:
                load_s = self._blocking_load_s(plan) if plan.blocking_loads else 0.0
                span_s = self._step_s(shape) + load_s + plan.stall_s
                self._boundary = After(env, span_s, BOUNDARY)
                yield self._boundary
                self._count(1, span_s, len(scheduler.running))
                scheduler.complete(env.now, 1, span_s, load_s)
            else:
                self._run_steps = steps
                self._run_shape = shape
                self._run_first_s = self._step_s(shape)
                self._run_growth_s = self._slowness * timing.decode_growth_s(shape)
                self._run_started_s = env.now
                self._boundary = After(env, self._run_s(steps), BOUNDARY)
                yield self._boundary
                self._end_run(self._run_steps)

    def _step_s(self, shape: BatchShape) -> float:
        step_s = self._slowness * self._timing.step(shape)
        if not 0 < step_s < math.inf:
            raise UserError(
                f"timing.profile: {type(self._timing).__name__} says that a step takes {step_s!r} "
                "seconds; allowed are positive numbers"
            )
        return step_s

    def _end_run(self, steps: int) -> None:
        """`steps` steps of the decode run in flight have been done, and no more will be."""
        self._run_steps = 0
        span_s = self._run_s(steps)
        self._timing.note_run(self._run_shape, steps)
        self._count(steps, span_s, len(self.scheduler.running))
        self.scheduler.complete(self._env.now, steps, span_s / steps)

    def _count(self, steps: int, span_s: float, running: int) -> None:
        self.steps += steps
        self.busy_s += span_s
        self.running_s += span_s * running

    def _steps_done(self) -> int:
        """Steps of the decode run in flight that are complete by now."""
        elapsed_s = self._env.now - self._run_started_s
        steps = steps_until(elapsed_s, self._run_first_s, self._run_growth_s)
        return steps if self._run_s(steps) <= elapsed_s else steps - 1

    def cut(self) -> list[Request]:
        """The simulation ends now. Returns the unfinished requests; a step in flight is lost."""
        if self._run_steps > 1 and (steps := self._steps_done()):
            self._end_run(steps)
        return self.scheduler.withdrawals.cut(self._env.now)

    def _blocking_load_s(self, plan: StepPlan) -> float:
        """Loads on the critical path, one after the other."""
        tiers, link = self.scheduler.tiers, self.links[PCIE]
        now = self._env.now
        return sum(link.alone_s(tiers.gpu_copy(state, now)) for state in plan.blocking_loads)

    def gauges(self) -> tuple[int, int, int, int, int, int, int]:
        """Running and waiting requests, pages of KV, prefixes and adapters, free pages, and hot
        adapters, as they are now within a decode run."""
        scheduler = self.scheduler
        kv_pages, prefix_pages, adapter_pages = scheduler.memory.pool.held
        free_pages = scheduler.memory.pool.free
        grown = self._unbooked_pages()
        kv_pages += grown
        free_pages -= grown
        return (
            len(scheduler.running),
            scheduler.waiting,
            kv_pages,
            prefix_pages,
            adapter_pages,
            free_pages,
            scheduler.tiers.hot.count,
        )
