"""A replica's brain: continuous batching with chunked prefill over one page pool.

The driver's loop is three calls: `schedule` says what the next step computes, the driver lets it
take its time, `complete` books what came of it. Requests come in through `submit`, finished
transfers through `transfer_done`; neither touches memory that a step in flight uses, so all
decisions about memory are made at step boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from simlora.scenario.deployment import Deployment
from simlora.serving.adapter_state import HOT, AdapterState
from simlora.serving.adapter_tiers import PCIE, Transfer
from simlora.serving.batch_shape import BatchShape
from simlora.serving.decode_set import DecodeSet
from simlora.serving.memory import MemoryPlan
from simlora.serving.queue_order import QUEUE_ORDER
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import COMPLETED, REJECTED, RUNNING, WAITING, Request


class StepLog(Protocol):
    """Where a scheduler notes its steps, for the distribution of inter-token latencies."""

    step_s: list[float]  # mean duration of a step, one entry per `complete`
    steps: list[int]  # decode steps that entry stands for
    decode_starts: list[list[int]]  # per tier: entry with which a request began to decode
    decode_ends: list[list[int]]  # per tier: entry before which a request had ended
    gaps: list[tuple[int, float]]  # (tier, seconds) between two tokens around a preemption


@dataclass(slots=True)
class StepPlan:
    """What the replica does next."""

    shape: BatchShape
    steps: int = 0  # alike decode steps that may be taken at once; 1 if there is any prefill
    chunks: list[tuple[Request, int]] = field(default_factory=list)  # prefill tokens by request
    blocking_loads: list[AdapterState] = field(default_factory=list)  # prolong the step


class BatchScheduler:
    """Queue and batch of one replica, over its memory."""

    def __init__(
        self,
        deployment: Deployment,
        plan: MemoryPlan,
        log: StepLog,
        finished: list[Request],
        prefix_block_tokens: int,
    ) -> None:
        engine = deployment.scenario.engine
        self.memory = ReplicaMemory(deployment, plan, prefix_block_tokens)
        self.tiers = self.memory.tiers
        self.shape = BatchShape()
        self.decodes = DecodeSet(plan.block_tokens, self.shape)
        self.running: dict[int, Request] = {}  # in order of admission
        self.prefilling: list[Request] = []  # of them, those whose prompt is not done; same order
        self.finished = finished
        self.log = log
        self.preemptions = 0
        self.outstanding = 0  # requests submitted and not finished

        self._plan = StepPlan(self.shape)
        self._max_seqs = engine.max_num_seqs
        self._max_tokens = engine.max_num_batched_tokens
        self._chunked = engine.scheduler.chunked_prefill
        self._blocking = engine.adapter_loading == "blocking"
        self._unified = plan.unified
        self._cold_start = deployment.scenario.adapters.cold_start
        self._order = QUEUE_ORDER.find(engine.scheduler.order)()
        self._ready: list[tuple[float, int, Request]] = []  # waiting, adapter hot (or was)
        self._step_adapters: list[AdapterState] = []  # of this step's chunks, not decoding yet
        self._first_blocks = 0  # blocks already taken for the first of the planned steps
        # An action that found no memory is not tried again until some may have come free.
        self._admission_blocked = False
        self._loads_stalled = False

    # --- what comes in ------------------------------------------------------------------

    def submit(self, request: Request, now: float) -> None:
        """A request has been routed here, at `now`."""
        request.enqueued_s = now
        self.outstanding += 1
        if request.adapter < 0:
            self._push_ready(request)
            return
        tiers = self.tiers
        state = tiers.look_up(request, now)
        if self._cold_start != "wait" and tiers.is_cold(state):
            tiers.fetch(state)
            if self._cold_start == "reject":
                self.outstanding -= 1
                request.status = REJECTED
                request.reason = "cold_start"
                request.finish_s = now
                self.finished.append(request)
            else:
                request.base_fallback = True
                self._push_ready(request)
            return
        request.adapter_state = state
        if state.hot == HOT:
            self._push_ready(request)
        else:
            tiers.wait_for(state, request, self._order.key(request))

    def transfer_done(self, transfer: Transfer, now: float) -> None:
        """The driver has carried out a transfer from `tiers.outbox`."""
        state = transfer.adapter
        if transfer.link == PCIE:
            self._became_hot(state, now)
        else:
            key = self._order.key(state.waiting[0]) if state.waiting else 0.0
            self.tiers.hosted(state, key, now)
        self._admission_blocked = self._loads_stalled = False

    def _became_hot(self, state: AdapterState, now: float) -> None:
        for request in self.tiers.became_hot(state, now):
            self._push_ready(request)

    def _push_ready(self, request: Request) -> None:
        heappush(self._ready, (self._order.key(request), request.index, request))

    @property
    def waiting(self) -> int:
        """Requests here that are not in the batch."""
        return self.outstanding - len(self.running)

    def unfinished(self) -> list[Request]:
        """All requests here, by arrival."""
        ready = [request for _, _, request in self._ready]
        everyone = [*self.running.values(), *ready, *self.tiers.waiting_requests()]
        return sorted(everyone, key=lambda request: request.index)

    def pages_grown_after(self, steps: int) -> int:
        """KV pages that the planned run will have taken after `steps` steps, beside those held."""
        return (self.decodes.new_blocks(steps) - self._first_blocks) * self.memory.plan.block_pages

    def wants_step(self) -> bool:
        """Whether `schedule` might do more than let the decoding sequences go on."""
        return self._may_admit() or self._may_load()

    def _may_admit(self) -> bool:
        return (
            bool(self._ready)
            and not self._admission_blocked
            and len(self.running) < self._max_seqs
        )

    def _may_load(self) -> bool:
        # Adapters loaded far ahead of the batch would only take memory from it.
        return (
            bool(self.tiers.backlog)
            and not self._loads_stalled
            and not (self._admission_blocked and self._unified)
            and len(self.running) + len(self._ready) < self._max_seqs
        )

    # --- one step -----------------------------------------------------------------------

    def schedule(self, now: float) -> StepPlan | None:
        """Decide the next step, or the run of alike decode steps. None: nothing to do."""
        plan, shape = self._plan, self.shape
        undisturbed = True
        if shape.decode_seqs:
            undisturbed = self._grow_decodes(now)
        budget = self._max_tokens - shape.decode_seqs
        if self.prefilling:
            budget, undisturbed = self._continue_prefills(budget, now, undisturbed)
        if undisturbed or not self.running:
            if self.tiers.backlog:
                self._start_loads(now)
            while self._ready and self._may_admit():
                budget = self._admit(budget, now)
                if not (self.tiers.backlog and self._may_load()):
                    break
                # Requests whose adapters were evicted meanwhile have gone back to the backlog.
                self._start_loads(now)
        plan.steps = 1
        if plan.chunks or plan.blocking_loads:
            return plan
        if not shape.decode_seqs:
            return None
        if undisturbed and not self.prefilling:
            plan.steps = self.decodes.steps_within(
                self.memory.free_blocks + self._first_blocks, self.decodes.steps_to_finish()
            )
        return plan

    def complete(self, now: float, steps: int, step_s: float, load_s: float = 0.0) -> None:
        """`steps` of the planned steps have been done, each taking `step_s` seconds on average;
        `load_s` of that went into the plan's blocking loads."""
        plan, decodes, log = self._plan, self.decodes, self.log
        log.step_s.append(step_s)
        log.steps.append(steps)
        if steps > 1:
            self.memory.take_blocks(decodes.new_blocks(steps) - self._first_blocks)
        self._first_blocks = 0
        decodes.advance(steps)
        while (request := decodes.pop_finished()) is not None:
            kv_tokens = self._stop_decoding(request, now)
            self.memory.adopt_prefix(request, kv_tokens, now)
            self._finish(request, kv_tokens, now)
        if plan.blocking_loads:
            self._book_blocking_loads(load_s)
        if plan.chunks:
            self._complete_chunks(now)

    def _grow_decodes(self, now: float) -> bool:
        """Take the KV blocks of the decoding sequences' next step, preempting if there are none
        left. False if something was preempted: then nothing is admitted in this step."""
        undisturbed = True
        while blocks := self.decodes.new_blocks(1):
            if self._find_room(blocks, len(self.running) - 1):
                self.memory.take_blocks(blocks)
                break
            self._preempt_last(now)
            undisturbed = False
        self._first_blocks = blocks
        return undisturbed

    def _continue_prefills(
        self, budget: int, now: float, undisturbed: bool
    ) -> tuple[int, bool]:
        """Schedule the next chunks of admitted prompts. Returns the tokens left to schedule and
        whether nothing has been preempted."""
        for request in list(self.prefilling):
            if budget <= 0:
                break
            done = request.prefilled_tokens
            chunk = min(request.prefill_target - done, budget)
            blocks = self.memory.blocks(done + chunk) - self.memory.blocks(done)
            while request.status == RUNNING and not self._find_room(
                blocks, len(self.running) - 1
            ):
                self._preempt_last(now)
                undisturbed = False
            if request.status == RUNNING:  # else it was preempted, now or for one before it
                self._add_chunk(request, chunk, blocks)
                budget -= chunk
        return budget, undisturbed

    def _start_loads(self, now: float) -> None:
        """Give GPU memory to the adapters that requests wait for, in the order of the queue."""
        tiers = self.tiers
        while self._may_load():
            state = tiers.backlog[0][2]
            if not self.memory.reserve_adapter(state, now):
                self._loads_stalled = True
                return
            heappop(tiers.backlog)
            if self._blocking:
                self._plan.blocking_loads.append(state)
                self._became_hot(state, now)
            else:
                tiers.outbox.append(tiers.gpu_copy(state))

    def _admit(self, budget: int, now: float) -> int:
        """Let waiting requests into the batch while tokens, sequences and memory last. Returns the
        tokens left."""
        ready, memory = self._ready, self.memory
        while ready and budget > 0 and len(self.running) < self._max_seqs:
            key, _, request = ready[0]
            state = request.adapter_state
            if state is not None and state.hot != HOT:  # evicted while the request waited
                heappop(ready)
                self.tiers.wait_for(state, request, key)
                continue
            target = request.prompt_tokens + request.emitted_tokens
            cached = memory.acquire_prefix(request, target, now)
            chunk = target - cached
            if chunk > budget:
                if self._chunked:
                    chunk = budget
                elif self._plan.chunks:  # a whole prompt waits for a step with room, or of its own
                    memory.release_prefix(request, now)
                    return 0
            blocks = memory.blocks(cached + chunk) - memory.blocks(cached)
            if state is not None:
                self.tiers.use(state)
            if not self._find_room(blocks, len(self.running)):
                if state is not None:
                    self.tiers.leave(state)
                memory.release_prefix(request, now)
                self._admission_blocked = True
                break
            heappop(ready)
            memory.count_prefix(request, target, cached)
            self._start(request, target, cached, now)
            self._add_chunk(request, chunk, blocks)
            budget -= chunk
        return budget

    def _find_room(self, blocks: int, others: int) -> bool:
        """Make room for KV blocks of a request, beside which `others` are running.

        When none is, adapters that were loaded for requests further behind must give way to it: else
        they would hold its memory forever.
        """
        if self.memory.room_for_blocks(blocks):
            return True
        if others:
            return False
        self.tiers.give_up_fresh()
        return self.memory.room_for_blocks(blocks)

    def _start(self, request: Request, target: int, cached: int, now: float) -> None:
        """Put a request into the batch and book its waiting, which ends now."""
        request.prefilled_tokens = cached
        request.prefill_target = target
        if request.preemptions == 0:
            request.cached_tokens = cached
            wait = 0.0
            if request.adapter_state is not None:
                wait = max(0.0, request.adapter_state.hot_since_s - request.enqueued_s)
                self.tiers.stats.request_wait_s += wait
            request.adapter_wait_s = wait
            request.queue_s = max(0.0, now - request.arrival_s - wait)
            request.mark_s = now
        elif request.emitted_tokens == 0:
            request.preempted_s += now - request.mark_s
            request.mark_s = now
        request.status = RUNNING
        self.running[request.index] = request
        self.prefilling.append(request)

    def _add_chunk(self, request: Request, chunk: int, blocks: int) -> None:
        """Plan `chunk` more tokens of a prompt, for which there is room in memory."""
        self.memory.take_blocks(blocks)
        self._plan.chunks.append((request, chunk))
        shape, state = self.shape, request.adapter_state
        shape.prefill_tokens += chunk
        shape.prefill_seqs += 1
        shape.prefill_attended_tokens += (
            chunk * request.prefilled_tokens + chunk * (chunk + 1) // 2
        )
        if state is not None:
            shape.lora_tokens += chunk
            shape.lora_token_parameters += chunk * state.parameters
            if not state.decoding and state not in self._step_adapters:
                self._step_adapters.append(state)
                shape.distinct_adapters += 1
                shape.distinct_adapter_parameters += state.parameters

    def _book_blocking_loads(self, load_s: float) -> None:
        """The requests that a step's loads were for have waited for them, not for their prefill."""
        loaded = self._plan.blocking_loads
        self.tiers.stats.load_s += load_s
        for request, _ in self._plan.chunks:
            if request.adapter_state in loaded and request.preemptions == 0:
                self.tiers.stats.request_wait_s += load_s
                request.adapter_wait_s += load_s
                request.mark_s += load_s
        loaded.clear()

    def _complete_chunks(self, now: float) -> None:
        chunks, shape = self._plan.chunks, self.shape
        shape.prefill_tokens = shape.prefill_seqs = shape.prefill_attended_tokens = 0
        for state in self._step_adapters:
            shape.distinct_adapters -= 1
            shape.distinct_adapter_parameters -= state.parameters
        self._step_adapters.clear()
        for request, chunk in chunks:
            if request.adapter_state is not None:
                shape.lora_tokens -= chunk
                shape.lora_token_parameters -= chunk * request.adapter_state.parameters
            request.prefilled_tokens += chunk
            if request.prefilled_tokens == request.prefill_target:
                self.prefilling.remove(request)
                self._complete_prefill(request, now)
        chunks.clear()

    def _complete_prefill(self, request: Request, now: float) -> None:
        """The whole prompt is computed: the request has its first token (or, after a preemption,
        its next one)."""
        since_s = now - request.mark_s
        if request.emitted_tokens == 0:
            request.first_token_s = now
            request.prefill_s += since_s
        else:
            request.preempted_s += since_s
            self.log.gaps.append((request.tier, since_s))
        request.emitted_tokens += 1
        request.mark_s = now
        kv_tokens = request.prefill_target
        self.memory.adopt_prefix(request, kv_tokens, now)
        if request.emitted_tokens == request.output_tokens:
            self._finish(request, kv_tokens, now)
        else:
            self.decodes.join(request, kv_tokens)
            self.log.decode_starts[request.tier].append(len(self.log.step_s))

    # --- what goes out ------------------------------------------------------------------

    def _stop_decoding(self, request: Request, now: float) -> int:
        """Book the end of a decode phase. Returns the KV tokens held."""
        self.log.decode_ends[request.tier].append(len(self.log.step_s))
        request.decode_s += now - request.mark_s
        request.mark_s = now
        return self.decodes.leave(request)

    def _finish(self, request: Request, kv_tokens: int, now: float) -> None:
        self._leave_batch(request, kv_tokens, now)
        request.status = COMPLETED
        request.finish_s = now
        self.outstanding -= 1
        self.finished.append(request)

    def _preempt_last(self, now: float) -> None:
        """Throw the request admitted last out of the batch; its tokens are computed again later."""
        request = next(reversed(self.running.values()))
        if request.finish_step >= 0:
            if self._first_blocks and request.block_class == self.decodes.residue:
                # Its block for the coming step was taken already.
                self._first_blocks -= 1
                self.memory.give_blocks(1)
            kv_tokens = self._stop_decoding(request, now)
        else:
            kv_tokens = request.prefilled_tokens
            self.prefilling.remove(request)
            if request.emitted_tokens == 0:
                request.prefill_s += now - request.mark_s
                request.mark_s = now
        self._leave_batch(request, kv_tokens, now)
        request.status = WAITING
        request.preemptions += 1
        self.preemptions += 1
        self._push_ready(request)

    def _leave_batch(self, request: Request, kv_tokens: int, now: float) -> None:
        del self.running[request.index]
        self.memory.release(request, kv_tokens, now)
        self._admission_blocked = self._loads_stalled = False
