"""Where a request's time goes: its phases add up to its end-to-end latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from struct import Struct

from simlora.serving.adapter_state import HOT
from simlora.serving.request import RUNNING, WAITING, Request
from simlora.serving.step import StepLog, StepPlan

# Records of a usage log, packed: reading millions of objects again would cost more than the rest.
WEIGHT = Struct("<dii")  # seconds, tenant, how much more it weighs in the batch from then on
USE = Struct("<idd")  # adapter, seconds since when it is hot, seconds of its latest use
_pack_weight, _pack_use = WEIGHT.pack, USE.pack


class PhaseBook:
    """Books every second of a request into one phase, at the instants where phases change.

    queue_s and adapter_wait_s run until the first admission (split at the instant the adapter
    became hot), prefill_s until the first token, decode_s until the last one. preempted_s is what a
    preemption cost: before the first token the time out of the batch; after it, the time until the
    next token, i.e. with the recomputation.

    The time of the batch is shared as well: that of a step evenly by the tokens that it computes,
    parts of prompts and one of each decoding request that does not pause. Noted are changes only,
    so that runs of steps taken at once book the same as step after step.
    """

    def __init__(self, log: StepLog, log_from_s: float) -> None:
        self.adapter_wait_s = 0.0  # summed over requests
        self._log = log
        self._log_from_s = log_from_s  # earlier requests are not in the log, nor are copies
        self._weights, self._uses = log.weights, log.uses
        self._computing: dict[Request, int] = {}  # prompt tokens in the step under way
        self.paused: Counter[int] = Counter()  # by tenant: decoding requests that it gives no token
        self._begun = 0  # records of weights when it began, also those that have been drained

    def admitted(self, request: Request, now: float) -> None:
        """The request comes into the batch, for the first time or again."""
        if request.preemptions == 0:
            self._book_wait(request, now)
            request.mark_s = now
        elif request.emitted_tokens == 0:
            request.preempted_s += now - request.mark_s
            request.mark_s = now

    def step_begins(
        self, chunks: Iterable[tuple[Request, int]], pausing: Iterable[Request], now: float
    ) -> None:
        """The coming step computes these parts of prompts, nothing of other prompts, and no token
        of those decoding requests that are `pausing`."""
        before, self._computing = self._computing, dict(chunks)
        for request, chunk in self._computing.items():
            self._weighs(request.tenant, chunk - before.pop(request, 0), now)
        for request, chunk in before.items():  # no room for it in this step
            self._weighs(request.tenant, -chunk, now)
        decoding = (request.tenant for request in pausing if request.finish_step >= 0)
        paused, self.paused = self.paused, Counter(decoding)
        for tenant in paused | self.paused:
            self._weighs(tenant, paused[tenant] - self.paused[tenant], now)
        self._begun = self._log.drained + len(self._weights) // WEIGHT.size

    def _weighs(self, tenant: int, more: int, now: float) -> None:
        if more:
            self._weights += _pack_weight(now, tenant, more)

    def _decoding_weight(self, request: Request) -> int:
        """What a decoding request weighs that leaves; those that pause weigh nothing."""
        if self.paused[request.tenant] > 0:
            self.paused[request.tenant] -= 1
            return 0
        return 1

    def _leaves(self, request: Request, weight: int, now: float) -> None:
        """The request, which weighed `weight`, is in the batch no more."""
        self._weighs(request.tenant, -weight, now)
        state = request.adapter_state
        if state is not None:
            self._uses += _pack_use(state.index, state.hot_since_s, now)

    def _book_wait(self, request: Request, now: float) -> None:
        wait_s = 0.0
        state = request.adapter_state
        if state is not None:
            until_s = state.hot_since_s if state.hot == HOT else now
            wait_s = max(0.0, until_s - request.enqueued_s)
            self.adapter_wait_s += wait_s
        request.adapter_wait_s = wait_s
        request.queue_s = max(0.0, now - request.arrival_s - wait_s)

    def blocking_loads(self, plan: StepPlan, load_s: float) -> None:
        """`load_s` of a step were spent on its loads: the requests they were for have waited."""
        after = max(0, self._begun - self._log.drained)
        alone_s = sum(plan.blocking_s)
        for state, of_one_s in zip(plan.blocking_loads, plan.blocking_s, strict=True):
            self._log.loads.append((after, state.index, load_s * of_one_s / alone_s))
        for request, _ in plan.chunks:
            if request.adapter_state in plan.blocking_loads and request.preemptions == 0:
                self.adapter_wait_s += load_s
                request.adapter_wait_s += load_s
                request.mark_s += load_s
        plan.blocking_loads.clear()
        plan.blocking_s.clear()

    def prefilled(self, request: Request, now: float) -> None:
        """The whole prompt is computed: the request has its first token, or after a preemption its
        next one."""
        since_s = now - request.mark_s
        if request.emitted_tokens == 0:
            request.first_token_s = now
            request.prefill_s += since_s
        else:
            request.preempted_s += since_s
            if self._logs(request):
                self._log.gaps.append((request.tier, since_s))
        weight = self._computing.pop(request)
        request.emitted_tokens += 1
        request.mark_s = now
        if request.emitted_tokens == request.output_tokens:
            self._leaves(request, weight, now)
            return
        self._weighs(request.tenant, 1 - weight, now)

    def _logs(self, request: Request) -> bool:
        return request.arrival_s >= self._log_from_s and not request.shadow

    def decode_begins(self, request: Request) -> None:
        """The next step gives the request a token."""
        if self._logs(request):
            self._log.decode_starts[request.tier].append(len(self._log.step_s))

    def decode_ends(self, request: Request, now: float) -> None:
        """The request finishes or is preempted."""
        self._leaves(request, self._decoding_weight(request), now)
        if self._logs(request):
            self._log.decode_ends[request.tier].append(len(self._log.step_s))
        request.decode_s += now - request.mark_s
        request.mark_s = now

    def lost(self, request: Request, now: float) -> None:
        """The replica of a running request is lost."""
        if request.finish_step >= 0:
            self.decode_ends(request, now)
        else:
            self.prefill_preempted(request, now)

    def cut(self, request: Request, now: float) -> None:
        """The run ends before the request."""
        since_s = now - request.mark_s
        if request.status == RUNNING and request.mark_s < now:
            decoding = request.finish_step >= 0
            self._leaves(
                request,
                self._decoding_weight(request) if decoding else self._computing.pop(request, 0),
                now,
            )
        if request.status == WAITING and request.preemptions == 0:
            self._book_wait(request, now)
        elif request.status == WAITING:
            request.preempted_s += since_s
        elif request.finish_step >= 0:
            request.decode_s += since_s
        elif request.emitted_tokens == 0:
            request.prefill_s += since_s
        else:
            request.preempted_s += since_s
        request.mark_s = now

    def prefill_preempted(self, request: Request, now: float) -> None:
        """The request is thrown out before its prompt is done."""
        self._leaves(request, self._computing.pop(request, 0), now)
        if request.emitted_tokens == 0:
            request.prefill_s += now - request.mark_s
            request.mark_s = now


def book_outside(request: Request, now: float) -> None:
    """The end of a request that is on no replica: the gateway holds it, or its client."""
    if request.preemptions == 0:
        request.queue_s = now - request.arrival_s
    else:
        request.preempted_s += now - request.mark_s
        request.mark_s = now
