"""One replica whose steps take as long as the timing model says, in real time."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np

from simlora.live.server import Server
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import Deployment
from simlora.serve.answer import Answer
from simlora.serve.bodies import Asked
from simlora.serve.clock import PacedClock
from simlora.serve.ends import LENGTH, STOP
from simlora.serve.link import SharedLink
from simlora.serve.replica import Watcher
from simlora.serve.words import answer, chat_words, prefix_hashes, split
from simlora.serving.adapter_state import AdapterState
from simlora.serving.loading import PCIE, Transfer
from simlora.serving.request import FAILED, WAITING, Request
from simlora.timing.transfers import transfer_s
from simlora.workload.group_lengths import GroupLengths

_LOG_STEPS = 10_000  # after which the scheduler's notes of them, that nobody reads, are thrown away


class SimulatedReplica:
    """Gateway, scheduler and memory as they are simulated, paced by a clock.

    Everything is decided at the time it would be on a real server. What this process takes to
    compute it is no part of that, as long as it keeps up.
    """

    def __init__(
        self, deployment: Deployment, watcher: Watcher, clock: PacedClock | None = None
    ) -> None:
        self.deployment = deployment
        self._block_tokens = deployment.scenario.engine.kv_block_tokens
        self._log = StepLog(len(deployment.tiers))
        self._ended: list[Request] = []
        self.server = Server(deployment, self._block_tokens, self._log, self._ended)
        self.server.stopped_retries = True  # the clients are real, and ask again by themselves
        self.answers: dict[int, Answer] = {}  # of requests that have not ended
        self.received = 0
        self._coming: set[int] = set()  # requests that the server has not seen yet
        self.clock = clock or PacedClock()
        self._watcher = watcher
        self._links = [
            SharedLink(self.clock, rate, self._arrived)
            for rate in self.server.path.links_bytes_per_s
        ]
        names = set(deployment.scenario.adapters.loading.corrupt)
        self._corrupt = {a.index for a in deployment.adapters if a.name in names}
        self._draw_lengths = GroupLengths(deployment, paired=False).open()
        self._stepping = False
        self._alarm_s = inf

    @property
    def longest(self) -> int:
        """The most tokens that prompt and answer may have together."""
        return self.server.plan.max_model_len

    @property
    def lost_s(self) -> float:
        """Time by which this process has fallen behind the clock for good."""
        return self.clock.lost_s

    async def run(self) -> None:
        """Let time pass until `stop` is called."""
        await self.clock.run()

    def stop(self) -> None:
        """Nothing more is to happen."""
        self.clock.stop()

    # --- clients ------------------------------------------------------------------------

    def encode(self, asked: Asked) -> list[str]:
        """The tokens of what is asked: words, or the names of token ids."""
        if asked.messages is not None:
            return chat_words(asked.messages, self.longest)
        if isinstance(asked.prompt, str):
            return split(asked.prompt, self.longest)
        return [*map(str, asked.prompt)]

    def ask(self, tenant: int, adapter: int, prompt: list[str], most: int, asked: Asked) -> Answer:
        """A request comes now, for `most` tokens at most. Unless the whole of them is asked for,
        the answer ends where the scenario's lengths say."""
        now = self.clock.catch_up()
        tokens = most
        if not (asked.whole and asked.most is not None):
            _, lengths = self._draw_lengths(np.array([tenant]))
            tokens = min(most, int(lengths[0]))
        number, self.received = self.received, self.received + 1
        words = answer(number, tokens)
        hashes = None
        if self.server.scheduler.memory.prefix is not None:
            # The answer's too: a later turn of a chat has it in its prompt.
            hashes = prefix_hashes([*prompt, *words], self._block_tokens)
        tier = self.deployment.tenants[tenant].tier
        request = Request(
            number, now, tenant, tier, adapter, len(prompt), tokens, prefix_hashes=hashes
        )
        pieces = [word if place == 0 else f" {word}" for place, word in enumerate(words)]
        reason = LENGTH if asked.most is not None and tokens >= asked.most else STOP
        given = self.answers[number] = Answer(request, pieces, reason)
        overhead_s = self.server.timing.request_overhead_s
        if overhead_s:
            self._coming.add(number)
            self.clock.at(now + overhead_s, partial(self._come, request))
        else:
            self._receive(request, now)
        return given

    def _come(self, request: Request, now: float) -> None:
        if request.index in self._coming:  # else its client has gone
            self._coming.discard(request.index)
            self._receive(request, now)

    def _receive(self, request: Request, now: float) -> None:
        self.server.receive(request, now)
        self._follow(now)

    def give_up(self, given: Answer, reason: str) -> None:
        """Nobody waits for an answer any more; its memory is free at the next step boundary."""
        now, request = self.clock.catch_up(), given.request
        if given.over:
            return
        request.reason = reason
        given.end()
        if request.index in self._coming:
            self._coming.discard(request.index)
            request.status, request.reason, request.finish_s = FAILED, reason, now
            self._ended.append(request)
        else:
            self.server.give_up(request, reason, now)
        self._follow(now)

    # --- what happens by itself ---------------------------------------------------------

    def _follow(self, now: float) -> None:
        """Something has happened: do what the server wants done about it."""
        self._send(now)
        if not self._stepping and self.server.wants_step(now):
            self._step(now)

    def _send(self, now: float) -> None:
        """Begin what the server has ordered, and tell clients whose requests have ended."""
        server = self.server
        for number, transfer in server.orders:
            self._links[transfer.link].start(number, transfer, now)
        server.orders.clear()
        for number, delay_s in server.timers:
            self.clock.at(now + delay_s, partial(self._ring, number))
        server.timers.clear()
        server.decisions.lines.clear()
        if self._ended:
            self._tell_ended()
        if server.scheduler.wakes:
            self._set_alarm(now)

    def _tell_ended(self) -> None:
        ended, self._ended[:] = list(self._ended), []
        for request in ended:
            if not request.shadow:
                self._watcher.ended(request)
                self.answers.pop(request.index).end()

    def _ring(self, number: int, now: float) -> None:
        self.server.ring(number, now)
        self._follow(now)

    def _arrived(self, number: int, transfer: Transfer, now: float) -> None:
        damaged = transfer.link != PCIE and transfer.adapter.index in self._corrupt
        self.server.transfer_done(number, now, failed=damaged)
        self._follow(now)

    def _set_alarm(self, now: float) -> None:
        at_s = self.server.scheduler.wake_at_s(now)
        if now < at_s < self._alarm_s:
            self._alarm_s = at_s
            self.clock.at(at_s, self._wake)

    def _wake(self, now: float) -> None:
        if now == self._alarm_s:  # else it was set for an earlier time
            self._alarm_s = inf
            self._follow(now)

    # --- steps --------------------------------------------------------------------------

    def _step(self, now: float) -> None:
        """Begin the next step, if there is anything to compute."""
        server = self.server
        plan = server.schedule(now)
        self._stepping = plan is not None
        if plan is not None:
            load_s = sum(self._load_s(state, now) for state in plan.blocking_loads)
            span_s = server.timing.step(plan.timed) + load_s + plan.stall_s
            decoding = [] if server.pauses(plan) else server.decoding()
            prefilling = [request for request, _ in plan.chunks]
            done = partial(self._step_done, decoding + prefilling, span_s, load_s)
            self.clock.at(now + span_s, done)
        self._send(now)

    def _load_s(self, state: AdapterState, now: float) -> float:
        """A load that the step waits for, on its own."""
        copy = self.server.scheduler.tiers.gpu_copy(state, now)
        rate = self.server.path.links_bytes_per_s[PCIE]
        return transfer_s(copy.latency_s, copy.nbytes, rate, copy.finish_s)

    def _step_done(self, computed: list[Request], span_s: float, load_s: float, now: float) -> None:
        self.server.complete(now, span_s, load_s)
        self._emit(computed, now)
        if len(self._log.step_s) > _LOG_STEPS:
            self._log.drain()
        self._send(now)
        self._step(now)

    def _emit(self, computed: list[Request], now: float) -> None:
        """Clients get what the step has made."""
        answers, emitted = self.answers, self.server.scheduler.decodes.emitted_tokens
        for request in computed:
            given = answers.get(request.index)
            if given is None or given.over:
                continue
            tokens = emitted(request) if request.finish_step >= 0 else request.emitted_tokens
            if tokens > given.emitted:
                self._watcher.token(request, now - given.last_s if given.emitted else None, now)
                given.grow(tokens, now)

    # --- gauges -------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Requests that have come and are not in the batch."""
        return sum(given.request.status == WAITING for given in self.answers.values())

    def check(self) -> None:
        """Raises AssertionError unless every page of the pool is accounted for."""
        self.server.scheduler.memory.pool.check()
        self.server.scheduler.tiers.check()
