"""Puts a scenario's requests to a server when they come, however slow it is, and measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx

from simlora.live.openai_options import ServerOptions
from simlora.live.openai_prompts import Bodies
from simlora.live.openai_stream import Reply, ask
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import Deployment
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from simlora.serving.retries import retry_delay_s

TURNED_AWAY = (429, 503)
DRAIN, CUT_SHORT = 1, 2  # what has been asked for


class OpenAIDriver:
    """An open loop: requests are sent at their times, whatever has become of those before. `run`
    may be called once. Requests that reach their end go to `ended`; gaps between tokens to `log`.

    `gauges_due` is called with the time, first 0, and says when it wants to be called next.
    """

    def __init__(
        self,
        deployment: Deployment,
        options: ServerOptions,
        clients: Sequence[httpx.AsyncClient],
        bodies: Bodies,
        log: StepLog,
        ended: list[Request],
        gauges_due: Callable[[float], float],
    ) -> None:
        scenario = deployment.scenario
        self.interrupted = False
        self.arrived = 0
        self.late_s: list[float] = []  # by which requests were sent late
        self.tokens = 0
        self.looked_up_tokens = 0  # of prompts whose cached tokens the server told, and those
        self.cached_tokens = 0
        self.told_otherwise = 0  # answers whose chunks were not one a token
        self.at_once = 0  # of them, those that came in one chunk as a whole
        self._retries = scenario.workload.clients
        self._timeouts_s = [scenario.gateway.timeouts_s.get(name) for name in deployment.tier_names]
        self._warmup_s = scenario.run.warmup_s
        self._path, self._silence_s = options.path, options.silence_s
        self._clients = clients
        self._bodies = bodies
        self._log = log
        self._ended = ended
        self._gauges_due = gauges_due
        self._under_way: dict[int, Request] = {}
        self._replies: dict[int, Reply] = {}  # to them, of the last attempt
        self._started_s = time.perf_counter()
        self._asked = 0
        self._stop = asyncio.Event()  # the end has been asked for
        self._quiet = asyncio.Event()  # nothing is under way any more, or something went wrong
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    def now(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started_s

    def ask(self) -> None:
        """Ask for the end: the first time no more requests are sent, the second time those under
        way are cut off."""
        self.interrupted = True
        self._asked = min(self._asked + 1, CUT_SHORT)
        self._stop.set()
        self._quiet.set()

    @property
    def counts(self) -> tuple[int, int]:
        """Requests whose answers have begun, and those that have none yet."""
        running = sum(bool(reply.token_s) for reply in self._replies.values())
        return running, len(self._under_way) - running

    # --- the run ------------------------------------------------------------------------

    async def run(self, requests: Iterator[Request], end_s: float | None) -> list[Request]:
        """Send all requests and wait for their answers, until `end_s` at most. Returns those that
        are unfinished."""
        self._started_s = time.perf_counter()
        gauges = asyncio.create_task(self._read_gauges())
        gauges.add_done_callback(self._done)
        try:
            await self._send_all(requests)
            await self._wait_for_answers(end_s)
            if self._failure is not None:
                raise self._failure
        finally:
            gauges.cancel()
            tasks = [gauges, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return sorted(self._under_way.values(), key=lambda request: request.index)

    async def _send_all(self, requests: Iterator[Request]) -> None:
        for request in requests:
            # Made before its time, so that a long prompt does not make it late.
            body = self._bodies.body(request)
            await self._sleep(request.arrival_s - self.now())
            if self._asked:
                return
            now = self.now()
            self.late_s.append(now - request.arrival_s)
            request.arrival_s = now
            self.arrived += 1
            self._under_way[request.index] = request
            task = asyncio.create_task(self._serve(request, body))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self.ask()
        if not self._tasks:
            self._quiet.set()

    async def _wait_for_answers(self, end_s: float | None) -> None:
        if end_s is not None:
            await self._sleep(end_s - self.now())
            if not self._asked:
                return  # what is unfinished by now does not count
        while self._tasks and self._asked < CUT_SHORT and self._failure is None:
            self._quiet.clear()
            await self._quiet.wait()

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until the end is asked for."""
        if self._asked:
            return
        try:
            await asyncio.wait_for(self._stop.wait(), max(0.0, seconds))
        except TimeoutError:
            return

    async def _read_gauges(self) -> None:
        due_s = 0.0
        while True:
            due_s = self._gauges_due(due_s)
            await asyncio.sleep(max(0.0, due_s - self.now()))

    # --- one request --------------------------------------------------------------------

    async def _serve(self, request: Request, body: dict[str, Any]) -> None:
        timeout_s = self._timeouts_s[request.tier]
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_answered(request, body)
        except TimeoutError:
            request.status, request.reason = FAILED, "timeout"
        if request.status != COMPLETED:
            request.finish_s = self.now()
        del self._under_way[request.index]
        del self._replies[request.index]
        self._ended.append(request)

    async def _until_answered(self, request: Request, body: dict[str, Any]) -> None:
        """Ask, and ask again where the server says when to."""
        client = self._clients[request.index % len(self._clients)]
        while True:
            sent_s = time.perf_counter()
            request.queue_s = sent_s - self._started_s - request.arrival_s
            reply = self._replies[request.index] = Reply()
            try:
                await ask(client, self._path, body, reply, self._silence_s)
            finally:  # also where time has run out, or the run is cut short
                self._book(request, reply, sent_s)
            if not reply.reason:
                self._complete(request, reply)
                return
            request.reason, request.retry_after_s = reply.reason, reply.retry_after_s
            if reply.status not in TURNED_AWAY or reply.token_s:
                request.status = FAILED
                return
            delay_s = None if self._asked else retry_delay_s(self._retries, request)
            if delay_s is None:
                request.status = REJECTED
                return
            await asyncio.sleep(delay_s)
            request.attempts += 1
            request.reason, request.retry_after_s = "", -1.0

    def _book(self, request: Request, reply: Reply, sent_s: float) -> None:
        """What can be told from outside: until the first token, and from there on."""
        token_s = reply.token_s
        if not token_s:
            return
        request.first_token_s = token_s[0] - self._started_s
        request.prefill_s = token_s[0] - sent_s
        request.decode_s = token_s[-1] - token_s[0]
        request.emitted_tokens = reply.tokens
        self.tokens += reply.tokens
        if request.arrival_s >= self._warmup_s:
            gaps = [(request.tier, later - before) for before, later in pairwise(token_s)]
            self._log.gaps.extend(gaps)

    def _complete(self, request: Request, reply: Reply) -> None:
        """Rows tell what was, not what was asked for."""
        if not reply.token_s:
            request.status, request.reason = FAILED, "no_tokens"
            return
        request.status = COMPLETED
        request.finish_s = reply.token_s[-1] - self._started_s
        request.output_tokens = request.emitted_tokens = reply.tokens
        if len(reply.token_s) != reply.tokens:
            self.told_otherwise += 1
            self.at_once += len(reply.token_s) == 1
        if reply.prompt_tokens > 0:
            request.prompt_tokens = reply.prompt_tokens
        if reply.cached_tokens >= 0:
            request.cached_tokens = min(reply.cached_tokens, request.prompt_tokens)
            self.looked_up_tokens += request.prompt_tokens
            self.cached_tokens += request.cached_tokens
