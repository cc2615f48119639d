"""A replica's brain: continuous batching with chunked prefill over one page pool.

The driver's loop is three calls: `schedule` says what the next step computes, the driver lets it
take its time, `complete` books what came of it. Requests come in through `submit`, finished
transfers through `transfer_done`; neither touches memory that a step in flight uses, so all
decisions about memory are made at step boundaries.
"""

from __future__ import annotations

from heapq import heappop, heappush

from simlora.serving.adapter_state import HOT, AdapterState
from simlora.serving.batch_shape import BatchShape
from simlora.serving.decode_set import DecodeSet
from simlora.serving.load_starter import LoadStarter
from simlora.serving.loading import PCIE, Transfer
from simlora.serving.peak import peak_of
from simlora.serving.phases import PhaseBook
from simlora.serving.queue_order import QUEUE_ORDER
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import COMPLETED, FAILED, RUNNING, WAITING, Request
from simlora.serving.step import StepLog, StepPlan


class BatchScheduler:
    """Queue and batch of one replica, over its memory."""

    def __init__(self, spec: ReplicaSpec, log: StepLog, finished: list[Request]) -> None:
        scenario, plan = spec.deployment.scenario, spec.plan
        engine, adapters = scenario.engine, scenario.adapters
        self.memory = ReplicaMemory(spec)
        self.tiers = self.memory.tiers
        self.shape = BatchShape()
        self.decodes = DecodeSet(plan.block_tokens, self.shape)
        self.running: dict[int, Request] = {}  # in order of admission
        self.prefilling: list[Request] = []  # of them, those whose prompt is not done; same order
        self.finished = finished
        self.phases = PhaseBook(log, scenario.run.warmup_s)
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
        self._cold_start = adapters.cold_start
        self._retry_after_s = adapters.retry_after_s
        self._order = QUEUE_ORDER.make(engine.scheduler.order)
        self._ready: list[tuple[float, int, Request]] = []  # waiting, adapter hot (or was)
        self._reserved_blocks = 0  # for the rest of the prompts in `prefilling`
        # An admission that found no memory is not tried again until some may have come free.
        self.admission_blocked = False
        self._loads = LoadStarter(
            self,
            engine.max_num_seqs,
            blocking=engine.adapter_loading == "blocking",
            preempts=adapters.hot.when_full == "preempt",
        )

    # --- what comes in ------------------------------------------------------------------

    def submit(self, request: Request, now: float) -> bool:
        """A request has been routed here, at `now`. False if it is turned away: then the request
        says why, and when to come again."""
        request.enqueued_s = now
        if request.adapter < 0:
            self.outstanding += 1
            self._push_ready(request)
            return True
        tiers = self.tiers
        state = tiers.look_up(request, now)
        if self._cold_start != "wait" and tiers.is_cold(state):
            tiers.fetch(state, now)
            if self._cold_start == "reject":
                request.reason, request.retry_after_s = "cold_start", self._retry_after_s
                return False
            request.base_fallback = True
            self.outstanding += 1
            self._push_ready(request)
            return True
        self.outstanding += 1
        request.adapter_state = state
        if state.hot == HOT:
            self._push_ready(request)
        else:
            tiers.wait_for(state, request, self.key(request), now)
        return True

    def transfer_done(self, transfer: Transfer, now: float, *, failed: bool = False) -> None:
        """The driver has carried out a transfer from `tiers.outbox`, or it failed."""
        state = transfer.adapter
        if failed:
            for request in self.tiers.failed(transfer, now):
                self._fail(request, "adapter_load", now)
        elif transfer.link == PCIE:
            self.tiers.book(transfer, now)
            self.became_hot(state, now)
        else:
            key = self.key(state.waiting[0]) if state.waiting else 0.0
            self.tiers.arrived(transfer, key, now)
        self._memory_came_free()

    def became_hot(self, state: AdapterState, now: float) -> None:
        """The adapter is in GPU memory, and the requests that waited for it are ready."""
        for request in self.tiers.became_hot(state, now):
            self._push_ready(request)

    def _memory_came_free(self) -> None:
        self.admission_blocked = False
        self._loads.retry()

    def key(self, request: Request) -> float:
        """The request's place in the queue."""
        return self._order.key(request)

    def _push_ready(self, request: Request) -> None:
        heappush(self._ready, (self.key(request), request.index, request))

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
        return self._may_admit() or self._loads.may_start() or self._loads.may_start_ahead()

    @property
    def passed_over(self) -> int:
        """Waiting requests whose adapters are not in GPU memory."""
        return self.waiting - len(self._ready)

    def _may_admit(self) -> bool:
        return (
            bool(self._ready) and not self.admission_blocked and len(self.running) < self._max_seqs
        )

    @property
    def ready_count(self) -> int:
        """Waiting requests whose adapters are in GPU memory, or were."""
        return len(self._ready)

    def first_ready_key(self) -> float | None:
        """The place in the queue of the first of them."""
        return self._ready[0][0] if self._ready else None

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
            self._loads.start(now)
            while self._ready and self._may_admit() and self._steps_to_admission() <= 0:
                budget = self._admit(budget, now)
                if not self._loads.may_start():
                    break
                # Requests whose adapters were evicted meanwhile have gone back to the backlog.
                self._loads.start(now)
            self._loads.start_ahead(now)
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
        while not self._find_room(0, len(self.running) - 1, now):
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
            while request.status == RUNNING and not self._find_room(
                blocks, len(self.running) - 1, now
            ):
                self._preempt_last(now)
                undisturbed = False
            if request.status == RUNNING:  # else it was preempted, now or for one before it
                self.memory.take_blocks(blocks)
                self._plan.add_chunk(request, chunk)
                self._reserved_blocks -= self._to_reserve(done, done + chunk)
                budget -= chunk
        return budget, undisturbed

    def _admit(self, budget: int, now: float) -> int:
        """Let waiting requests into the batch while tokens, sequences and memory last. Returns the
        tokens left."""
        ready, memory = self._ready, self.memory
        while ready and budget > 0 and len(self.running) < self._max_seqs:
            key, _, request = ready[0]
            state = request.adapter_state
            if state is not None and state.hot != HOT:  # evicted while the request waited
                heappop(ready)
                self.tiers.wait_for(state, request, key, now)
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
                self.tiers.hot.use(state)
            # A prompt comes in only if all of it fits beside those still being computed: else long
            # prompts would throw each other out, again and again.
            if not self._fits_to_the_end(request) or not self._find_room(
                blocks + later_blocks + self._reserved_blocks, len(self.running), now
            ):
                if state is not None:
                    self.tiers.hot.leave(state, now)
                memory.release_prefix(request, now)
                self.admission_blocked = True
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

    def _find_room(self, blocks: int, others: int, now: float) -> bool:
        """Make room for KV blocks of a request, beside which `others` are running, and for the
        growth of what is decoding.

        When no others are, adapters that were loaded for requests further behind must give
        way: else they would hold the request's memory forever.
        """
        pages = (blocks + self.decodes.next_blocks()) * self.memory.block_pages
        if self.memory.make_room(pages, now):
            return True
        if others:
            return False
        self.tiers.hot.give_up_fresh()
        return self.memory.make_room(pages, now)

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

    def _fail(self, request: Request, reason: str, now: float) -> None:
        """A waiting request will not be answered."""
        self.phases.cut(request, now)
        request.status = FAILED
        request.reason = reason
        request.finish_s = now
        self.outstanding -= 1
        self.finished.append(request)

    def _finish(self, request: Request, kv_tokens: int, now: float) -> None:
        self._leave_batch(request, kv_tokens, now)
        request.status = COMPLETED
        request.finish_s = now
        self.outstanding -= 1
        self.finished.append(request)

    def _preempt_last(self, now: float) -> None:
        self.preempt(next(reversed(self.running.values())), now)

    def block_for(self, state: AdapterState) -> None:
        """The coming step is prolonged by the load of an adapter."""
        self._plan.blocking_loads.append(state)

    def preempt(self, request: Request, now: float) -> None:
        """Throw a request out of the batch; its tokens are computed again later."""
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
        self._memory_came_free()
