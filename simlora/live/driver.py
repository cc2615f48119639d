"""The wall clock: lets a server's requests come, its steps run and its transfers happen.

One thread decides, one computes steps, and a few move adapters. Everything that is waited for is
told to the server with the time at which it was over, and taken down as a row; no two are told at
the same instant, so the rows give their order.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from simlora.live.adapter_files import AdapterFiles
from simlora.live.blocking_loads import BlockingLoads
from simlora.live.mirror import Mirror, Sequence, Step
from simlora.live.records import (
    ARRIVAL,
    CUT,
    IDLE,
    LOAD,
    STEP,
    STOP,
    TIMER,
    TRANSFER,
    WITHDRAW,
    Row,
)
from simlora.live.server import Server
from simlora.live.transfers import Transfers
from simlora.serving.adapter_state import AdapterState
from simlora.serving.loading import NETWORK, PCIE, Transfer
from simlora.serving.request import RUNNING, Request
from simlora.serving.step import StepPlan

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded

CUT_SHORT = 2  # times that the end has been asked for, or more
# asyncio waits in whole milliseconds, rounded up: so long before an instant a thread takes over.
EARLY_S = 0.003


class Listener(Protocol):
    """Who is told what happens, as it does."""

    def said(self, sequences: list[Sequence], now: float) -> list[Request]:
        """These have one more token, the last of what their scripts have `said`. Returns the
        requests whose answers end with it, whatever they may have asked for."""

    def happened(self) -> None:
        """Something has: requests may have come to their ends."""


class Driver:
    """Serves `requests` (in order of arrival) in real time, or if there are none those that
    `receive` is given, until the end is asked for. `run` may be called once.

    `taken` is told each row. `gauges_due` is called with the time, first 0, and says when it wants
    to be called next. `check`: device and scheduler are compared at every step boundary.
    `distant_store`: what comes from the store takes as long as the scenario says, not only as long
    as its copy does.
    """

    def __init__(
        self,
        server: Server,
        mirror: Mirror,
        device: Embedded,
        files: AdapterFiles,
        requests: Iterator[Request] | None,
        taken: Callable[[Row], None],
        *,
        end_s: float | None = None,
        check: bool = False,
        listener: Listener | None = None,
        distant_store: bool = True,
    ) -> None:
        self.gauges_due: Callable[[float], float] | None = None
        self.asked = 0
        self.interrupted = False
        self.arrived = 0
        self.busy_s = 0.0
        self.running_s = 0.0  # integral of running requests over busy time
        self.output_tokens = 0
        self._server = server
        self._mirror = mirror
        self._device = device
        self._files = files
        self._blocking_loads = BlockingLoads(mirror, device, files)
        store_bytes_per_s = server.path.links_bytes_per_s[NETWORK] if distant_store else None
        self._transfers = Transfers(mirror, device, files, store_bytes_per_s)
        self._requests = requests
        self._taken = taken
        self._end_s = end_s
        self._check = check
        self._listener = listener
        self._arrivals_over = False
        self._last_s = -1.0
        self._started_s = time.perf_counter()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clock_thread = ThreadPoolExecutor(1, "clock")
        self._idle_count = 0
        self._failure: BaseException | None = None

    def now(self) -> float:
        """Seconds since the start; never the same twice."""
        now = max(time.perf_counter() - self._started_s, math.nextafter(self._last_s, math.inf))
        self._last_s = now
        return now

    def ask(self) -> None:
        """Ask for the end: the first time no more requests are taken, and those that have come are
        served; the second time the run ends with the step in flight."""
        self.interrupted = True
        self.asked = min(self.asked + 1, CUT_SHORT)
        if not self._server.stopped_retries:
            self._server.stopped_retries = True
            now = self.now()
            self._taken(Row(STOP, 0, now, now))
        self._changed.set()

    # --- clients, in the event loop of the run ------------------------------------------

    def receive(self, request: Request) -> None:
        """A request comes now."""
        now = self.now()
        self.arrived += 1
        self._server.receive(request, now)
        self._taken(Row(ARRIVAL, request.index, request.arrival_s, now))
        self._follow_orders()

    def give_up(self, request: Request, reason: str) -> None:
        """Nobody waits for a request, which has come, any more. What it holds of the device's
        memory is free at the next step boundary."""
        self._server.give_up(request, reason, self.now())
        self._follow_orders()

    # --- the run ------------------------------------------------------------------------

    async def run(self) -> list[Request]:
        """Serve until all is done, or the end is asked for. Returns the unfinished requests."""
        if self._requests is not None:
            self._started_s = time.perf_counter()
            self._begin(self._arrive(self._requests))
        self._begin(self._read_gauges())
        try:
            await self._serve()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._clock_thread.shutdown()
            self._device.close()
        now = self.now()
        self._taken(Row(CUT, 0, now, now))
        return self._server.cut(now)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._changed.set()

    async def _arrive(self, requests: Iterator[Request]) -> None:
        for request in requests:
            await self._until(request.arrival_s)
            if self.asked:
                break
            self.receive(request)
        if self._end_s is not None and not self.asked:
            await asyncio.sleep(max(0.0, self._end_s - (time.perf_counter() - self._started_s)))
            self.asked = CUT_SHORT  # what is unfinished by now does not count
        self._arrivals_over = True
        self._changed.set()

    async def _until(self, time_s: float) -> None:
        """Wait for an instant of the run, and be at most a fraction of a millisecond late."""
        wait_s = time_s - (time.perf_counter() - self._started_s)
        await asyncio.sleep(max(0.0, wait_s - EARLY_S))
        if 0 < (rest_s := time_s - (time.perf_counter() - self._started_s)) <= EARLY_S:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._clock_thread, time.sleep, rest_s)

    async def _read_gauges(self) -> None:
        due_s = 0.0
        while self.gauges_due is not None:
            next_s = self.gauges_due(due_s)
            elapsed_s = time.perf_counter() - self._started_s
            await asyncio.sleep(max(0.0, next_s - elapsed_s))
            due_s = next_s

    async def _serve(self) -> None:
        server, mirror = self._server, self._mirror
        loop = asyncio.get_running_loop()
        while self.asked < CUT_SHORT:
            if self._failure is not None:
                raise self._failure
            start_s = self.now()
            plan = server.schedule(start_s)
            self._boundary()
            if plan is None:
                self._taken(Row(IDLE, self._idle_count, start_s, start_s))
                self._idle_count += 1
                if not await self._wanted():
                    return
                continue
            load_s = await self._load(plan) if plan.blocking_loads else 0.0
            decoding = [] if server.pauses(plan) else server.decoding()
            step = mirror.begin_step(plan, decoding)
            following = await loop.run_in_executor(self._device.compute, self._compute, step)
            now = self.now()
            self._count(server.steps, start_s, now, load_s, plan, step)
            spoken = mirror.step_done(step, following)
            over = [] if self._listener is None else self._listener.said(spoken, now)
            server.complete(now, now - start_s, load_s)
            for request in over:
                if request.status == RUNNING:  # else it was its last token anyway
                    server.end_early(request, now)
            self._boundary()
            if self._check:
                mirror.check()

    async def _load(self, plan: StepPlan) -> float:
        """The loads that a step waits for. Returns the seconds that they take."""
        loop, states = asyncio.get_running_loop(), list(plan.blocking_loads)
        compute, load = self._device.compute, self._blocking_loads.load
        load_s, failed = await loop.run_in_executor(compute, load, states)
        for state in failed:
            now = self.now()
            self._mirror.passed_by(plan, state)
            self._server.load_failed(state.index, now)
            self._taken(Row(LOAD, state.index, now, now, failed=True))
        if failed:
            self._follow_orders()
        return load_s

    def _compute(self, step: Step) -> list[int]:
        """One step, in the engine's thread."""
        if not (step.decodes or step.chunks):
            return []
        return self._device.run(*self._mirror.parts(step))

    def _count(
        self, number: int, start_s: float, end_s: float, load_s: float, plan: StepPlan, step: Step
    ) -> None:
        self.busy_s += end_s - start_s
        self.running_s += (end_s - start_s) * len(self._server.scheduler.running)
        parts = [*step.decodes, *(sequence for sequence, _ in step.chunks)]
        adapters = {s.request.adapter for s in parts if s.request.adapter_state is not None}
        self.output_tokens += len(step.decodes)
        self._taken(
            Row(
                STEP,
                number,
                start_s,
                end_s,
                load_s,
                sequences=len(parts),
                prefill_tokens=sum(tokens for _, tokens in step.chunks),
                decodes=len(step.decodes),
                distinct_adapters=len(adapters),
            )
        )

    async def _wanted(self) -> bool:
        """Nothing can be computed: wait until that may have changed. False: the run is over."""
        server = self._server
        while self.asked < CUT_SHORT and self._failure is None:
            if (self._arrivals_over or self.asked) and server.over:
                return False
            now = self.now()
            if server.wants_step(now):
                return True
            if (self._arrivals_over or self.asked) and server.stuck:
                raise RuntimeError("nothing happens any more, but requests wait")
            alarm_s = server.scheduler.wake_at_s(now) if server.scheduler.wakes else math.inf
            self._changed.clear()
            wait_s = None if alarm_s == math.inf else max(0.0, alarm_s - now)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)
        return self._failure is not None

    def _boundary(self) -> None:
        """No step is in flight: give up what was evicted, then begin what was ordered."""
        for index, slot in self._mirror.leaving:
            state = self._server.scheduler.tiers.state(index)
            if self._kept_below(state):
                self._files.host[index] = self._device.copy_down(slot)
        self._mirror.settle()
        self._follow_orders(boundary=True)

    def _kept_below(self, state: AdapterState) -> bool:
        """Whether the scheduler holds an adapter in host memory that is not there: it came down
        from GPU memory."""
        tiers = self._server.scheduler.tiers
        return state.index in tiers.lower.warm and state.index not in self._files.host

    # --- what is waited for -------------------------------------------------------------

    def _follow_orders(self, *, boundary: bool = False) -> None:
        """Begin what the server has ordered."""
        server = self._server
        for index in self._files.withdrawn():
            now = self.now()
            server.withdraw(index, now)
            self._taken(Row(WITHDRAW, index, now, now))
        self._files.follow(server.scheduler.tiers, self._mirror.slots)
        for number, transfer in server.orders:
            if transfer.link == PCIE:
                assert boundary  # given there only
                self._transfers.start_upload(transfer.adapter.index)
            self._begin(self._carry_out(number, transfer))
        server.orders.clear()
        for number, delay_s in server.timers:
            self._begin(self._wait(number, delay_s))
        server.timers.clear()
        self._changed.set()
        if self._listener is not None:
            self._listener.happened()

    async def _wait(self, number: int, delay_s: float) -> None:
        start_s = self.now()
        await asyncio.sleep(delay_s)
        now = self.now()
        self._server.ring(number, now)
        self._taken(Row(TIMER, number, start_s, now))
        self._follow_orders()

    async def _carry_out(self, number: int, transfer: Transfer) -> None:
        outcome = await self._transfers.carry_out(transfer)
        now = self.now()
        self._server.transfer_done(number, now, failed=outcome.failed, final=outcome.final)
        self._taken(
            Row(
                TRANSFER,
                number,
                transfer.ordered_s,
                now,
                adapter=transfer.adapter.index,
                link=transfer.link,
                nbytes=transfer.nbytes,
                failed=outcome.failed,
                final=outcome.final,
            )
        )
        self._follow_orders()
