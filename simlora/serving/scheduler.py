"""A replica's brain: continuous batching with chunked prefill over one page pool.

The driver's loop is three calls: `schedule` says what the next step computes, the driver lets it
take its time, `complete` books what came of it. Requests come in through `submit`, finished
transfers through `transfer_done`; neither touches memory that a step in flight uses, so all
decisions about memory are made at step boundaries.
"""

from __future__ import annotations

from heapq import heappop, heappush

from simlora.scenario.deployment import Deployment
from simlora.serving.adapter_state import HOT, AdapterState
from simlora.serving.adapter_tiers import PCIE, Transfer
from simlora.serving.batch_shape import BatchShape
from simlora.serving.decode_set import DecodeSet
from simlora.serving.memory import MemoryPlan
from simlora.serving.peak import peak_of
from simlora.serving.phases import PhaseBook
from simlora.serving.queue_order import QUEUE_ORDER
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import COMPLETED, REJECTED, RUNNING, WAITING, Request
from simlora.serving.step import StepLog, StepPlan


class BatchScheduler:
    """Queue and batch of one replica, over its memory."""

    def __init__(
        self,
        deployment: Deployment,
        plan: MemoryPlan,
        log: StepLog,
        finished: list[Request],
        prefix_block_tokens: int,
        load_bytes_per_s: float,
    ) -> None:
        engine = deployment.scenario.engine
        self.memory = ReplicaMemory(deployment, plan, prefix_block_tokens, load_bytes_per_s)
        self.tiers = self.memory.tiers
        self.shape = BatchShape()
        self.decodes = DecodeSet(plan.block_tokens, self.shape)
        self.running: dict[int, Request] = {}  # in order of admission
        self.prefilling: list[Request] = []  # of them, those whose prompt is not done; same order
        self.finished = finished
        self.phases = PhaseBook(log, deployment.scenario.run.warmup_s)
        self.preemptions = 0
        self.outstanding = 0  # requests submitted and not finished

        self._log = log
        self._plan = StepPlan(self.shape, self.shape)
        self._max_seqs = engine.max_num_seqs
        self._max_tokens = engine.max_num_batched_tokens
        self._chunked = engine.scheduler.chunked_prefill
        self._whole_prompts = engine.scheduler.admission != "first_chunk"
        self._whole_requests = engine.scheduler.admission == "whole_request"
        self._admit_every = engine.scheduler.admit_every_steps
        self._last_admission = -self._admit_every  # step count at the last admission
        self.scans = engine.scheduler.scans_waiting
        self._separate = engine.scheduler.batching == "separate"
        self._blocking = engine.adapter_loading == "blocking"
        self._unified = plan.unified
        self._cold_start = deployment.scenario.adapters.cold_start
        self._order = QUEUE_ORDER.make(engine.scheduler.order)
        self._ready: list[tuple[float, int, Request]] = []  # waiting, adapter hot (or was)
        self._reserved_blocks = 0  # for the rest of the prompts in `prefilling`
        # An action that found no memory is not tried again until some may have come free.
        self._admission_blocked = self._loads_stalled = False

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

    def cut(self, now: float) -> list[Request]:
        """The run ends here. Books what the unfinished requests have had so far, and returns them
        by arrival."""
        for request in self.running.values():
            if request.finish_step >= 0:
                request.emitted_tokens = self.decodes.emitted_tokens(request)
        ready = [request for _, _, request in self._ready]
        everyone = [*self.running.values(), *ready, *self.tiers.waiting_requests()]
        for request in everyone:
            self.phases.cut(request, now)
        return sorted(everyone, key=lambda request: request.index)

    def wants_step(self) -> bool:
        """Whether `schedule` might do more than let the decoding sequences go on."""
        if self.scans and self.passed_over != self.shape.passed_over:
            return True  # the steps to come take another time
        return self._may_admit() or self._may_load()

    @property
    def passed_over(self) -> int:
        """Waiting requests whose adapters are not in GPU memory."""
        return self.waiting - len(self._ready)

    def _may_admit(self) -> bool:
        return (
            bool(self._ready) and not self._admission_blocked and len(self.running) < self._max_seqs
        )

    def _may_load(self) -> bool:
        """Whether the adapter at the head of the backlog may be given GPU memory now.

        Adapters loaded far ahead of the batch would only take memory from it, so those of the
        requests that come before, with such an adapter and prompt each, must fit along with it.
        """
        if (
            not self.tiers.backlog
            or self._loads_stalled
            or (self._admission_blocked and self._unified)
        ):
            return False
        key, _, state = self.tiers.backlog[0]
        ahead = len(self.running) + self.tiers.loading_count
        if self._ready and self._ready[0][0] < key:
            ahead += len(self._ready)
        if ahead >= self._max_seqs:
            return False
        prompt_blocks = self.memory.blocks(state.waiting[0].prompt_tokens)
        pages = state.pages + prompt_blocks * self.memory.block_pages
        return not self._unified or ahead * pages <= self.memory.pool.pages

    # --- one step -----------------------------------------------------------------------

    def schedule(self, now: float) -> StepPlan | None:
        """Decide the next step, or the run of alike decode steps. None: nothing to do."""
        plan, shape = self._plan, self.shape
        undisturbed = True
        if self.decodes.next_blocks() > self.memory.free_blocks:
            undisturbed = self._ensure_growth(now)
        budget = self._max_tokens - shape.decode_seqs
        if self.prefilling:
            budget, undisturbed = self._continue_prefills(budget, now, undisturbed)
        if undisturbed or not self.running:
            if self.tiers.backlog:
                self._start_loads(now)
            while self._ready and self._may_admit() and self._steps_to_admission() <= 0:
                budget = self._admit(budget, now)
                if not (self.tiers.backlog and self._may_load()):
                    break
                # Requests whose adapters were evicted meanwhile have gone back to the backlog.
                self._start_loads(now)
        if self.scans:
            shape.passed_over = self.passed_over
        plan.steps, plan.timed = 1, shape
        if plan.chunks or plan.blocking_loads:
            if self._separate and plan.chunks:
                plan.timed = plan.chunks_alone()
            return plan
        if not shape.decode_seqs:
            return None
        if undisturbed and not self.prefilling:
            decodes = self.decodes
            plan.steps = decodes.steps_within(self.memory.free_blocks, decodes.steps_to_finish())
            if self._ready and self._may_admit() and (wait := self._steps_to_admission()) > 0:
                plan.steps = min(plan.steps, wait)
        return plan

    def _steps_to_admission(self) -> int:
        """Decode steps until requests may be admitted again; 0 or less: now."""
        if not self.shape.decode_seqs:
            return 0
        return self._last_admission + self._admit_every - self.decodes.step_count

    def complete(self, now: float, steps: int, step_s: float, load_s: float = 0.0) -> None:
        """`steps` of the planned steps have been done, each taking `step_s` seconds on average;
        `load_s` of that went into the plan's blocking loads."""
        plan, decodes, log = self._plan, self.decodes, self._log
        if self._separate and plan.chunks:
            steps = 0  # the decoding sequences have paused
        log.step_s.append(step_s)
        log.steps.append(steps)
        self.memory.take_blocks(decodes.next_blocks() if steps == 1 else decodes.new_blocks(steps))
        decodes.advance(steps)
        while (request := decodes.pop_finished()) is not None:
            self.phases.decode_ends(request, now)
            kv_tokens = decodes.leave(request)
            self.memory.adopt_prefix(request, kv_tokens, now)
            self._finish(request, kv_tokens, now)
        if plan.blocking_loads:
            self.phases.blocking_loads(plan, load_s)
        if plan.chunks:
            self._complete_chunks(now)

    def _ensure_growth(self, now: float) -> bool:
        """See that the decoding sequences find the KV blocks of their next step, preempting if
        there are none left. They are taken when the step is complete; until then everything else
        leaves them alone. False if something was preempted: then nothing is admitted now."""
        undisturbed = True
        while not self._find_room(0, len(self.running) - 1):
            self._preempt_last(now)
            undisturbed = False
        return undisturbed

    def _continue_prefills(self, budget: int, now: float, undisturbed: bool) -> tuple[int, bool]:
        """Schedule the next chunks of admitted prompts. Returns the tokens left to schedule and
        whether nothing has been preempted."""
        for request in list(self.prefilling):
            if budget <= 0:
                break
            done = request.prefilled_tokens
            chunk = min(request.prefill_target - done, budget)
            blocks = self.memory.blocks_between(done, done + chunk)
            while request.status == RUNNING and not self._find_room(blocks, len(self.running) - 1):
                self._preempt_last(now)
                undisturbed = False
            if request.status == RUNNING:  # else it was preempted, now or for one before it
                self.memory.take_blocks(blocks)
                self._plan.add_chunk(request, chunk)
                self._reserved_blocks -= self._to_reserve(done, done + chunk)
                budget -= chunk
        return budget, undisturbed

    def _start_loads(self, now: float) -> None:
        """Give GPU memory to the adapters that requests wait for, in the order of the queue."""
        tiers = self.tiers
        while self._may_load():
            state = tiers.backlog[0][2]
            growth_pages = self.decodes.next_blocks() * self.memory.block_pages
            if not self.memory.reserve_adapter(state, now, growth_pages):
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
            blocks = memory.blocks_between(cached, cached + chunk)
            later_blocks = self._to_reserve(cached + chunk, target)
            if state is not None:
                self.tiers.use(state)
            # A prompt comes in only if all of it fits beside those still being computed: else long
            # prompts would throw each other out, again and again.
            if not self._fits_to_the_end(request) or not self._find_room(
                blocks + later_blocks + self._reserved_blocks, len(self.running)
            ):
                if state is not None:
                    self.tiers.leave(state)
                memory.release_prefix(request, now)
                self._admission_blocked = True
                break
            heappop(ready)
            self._last_admission = self.decodes.step_count
            memory.count_prefix(request, target, cached)
            self.phases.admitted(request, now)
            if request.preemptions == 0:
                request.cached_tokens = cached
            request.status = RUNNING
            request.prefilled_tokens = cached
            request.prefill_target = target
            self.running[request.index] = request
            self.prefilling.append(request)
            self._reserved_blocks += later_blocks
            memory.take_blocks(blocks)
            self._plan.add_chunk(request, chunk)
            budget -= chunk
        return budget

    def _to_reserve(self, done: int, target: int) -> int:
        """KV blocks to keep for a prompt between two counts of its tokens."""
        return self.memory.blocks_between(done, target) if self._whole_prompts else 0

    def _fits_to_the_end(self, request: Request) -> bool:
        """Whether the batch with `request` will never run out of memory, where that is asked."""
        if not self._whole_requests or not self.running:
            return True
        peak = peak_of(request, self.running.values(), self.decodes.step_count)
        return self.memory.blocks(peak) <= self.memory.reclaimable_blocks

    def _find_room(self, blocks: int, others: int) -> bool:
        """Make room for KV blocks of a request, beside which `others` are running, and for the
        growth of what is decoding.

        When no others are, adapters that were loaded for requests further behind must give
        way: else they would hold the request's memory forever.
        """
        pages = (blocks + self.decodes.next_blocks()) * self.memory.block_pages
        if self.memory.make_room(pages):
            return True
        if others:
            return False
        self.tiers.give_up_fresh()
        return self.memory.make_room(pages)

    def _complete_chunks(self, now: float) -> None:
        for request, chunk in self._plan.take_chunks():
            request.prefilled_tokens += chunk
            if request.prefilled_tokens < request.prefill_target:
                continue
            self.prefilling.remove(request)
            self.phases.prefilled(request, now)
            kv_tokens = request.prefill_target
            self.memory.adopt_prefix(request, kv_tokens, now)
            if request.emitted_tokens == request.output_tokens:
                self._finish(request, kv_tokens, now)
            else:
                self.decodes.join(request, kv_tokens)
                self.phases.decode_begins(request)

    # --- what goes out ------------------------------------------------------------------

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
            self.phases.decode_ends(request, now)
            kv_tokens = self.decodes.leave(request)
        else:
            kv_tokens = request.prefilled_tokens
            self.prefilling.remove(request)
            self._reserved_blocks -= self._to_reserve(kv_tokens, request.prefill_target)
            self.phases.prefill_preempted(request, now)
        self._leave_batch(request, kv_tokens, now)
        request.status = WAITING
        request.preemptions += 1
        self.preemptions += 1
        self._push_ready(request)

    def _leave_batch(self, request: Request, kv_tokens: int, now: float) -> None:
        del self.running[request.index]
        self.memory.release(request, kv_tokens, now)
        self._admission_blocked = self._loads_stalled = False
