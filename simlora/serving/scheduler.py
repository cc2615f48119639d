"""A replica's brain: continuous batching with chunked prefill over one page pool.

The driver's loop is three calls: `schedule` says what the next step computes, the driver lets it
take its time, `complete` books what came of it. Requests come in through `submit`, finished
transfers through `transfer_done`; neither touches memory that a step in flight uses, so all
decisions about memory are made at step boundaries.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from simlora.serving.adapter_state import HOT, AdapterState
from simlora.serving.admitter import Admitter
from simlora.serving.batch_shape import BatchShape
from simlora.serving.batching import BatchRules, PassOver
from simlora.serving.batching.prefix_first import PrefixFirst
from simlora.serving.decode_set import DecodeSet
from simlora.serving.fairness import OrderedQueue
from simlora.serving.load_starter import LoadStarter
from simlora.serving.loading import PCIE, Transfer
from simlora.serving.phases import PhaseBook
from simlora.serving.pool_leak import PoolLeak
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import COMPLETED, RUNNING, WAITING, Request
from simlora.serving.step import StepLog, StepPlan
from simlora.serving.victims import victim_chooser
from simlora.serving.waiting import ServiceMeter, make_queue
from simlora.serving.withdrawals import Withdrawals


class BatchScheduler:
    """Queue and batch of one replica, over its memory."""

    def __init__(
        self, spec: ReplicaSpec, log: StepLog, finished: list[Request], number: int = 0
    ) -> None:
        """`number` is the replica's in the fleet."""
        scenario, plan = spec.deployment.scenario, spec.plan
        engine, adapters = scenario.engine, scenario.adapters
        self.number = number
        self.memory = ReplicaMemory(spec)
        self.tiers = self.memory.tiers
        self.shape = BatchShape()
        self.decodes = DecodeSet(plan.block_tokens, self.shape)
        self.running: dict[int, Request] = {}  # in order of admission
        self.prefilling: list[Request] = []  # of them, those whose prompt is not done; same order
        self.finished = finished
        self.plan = StepPlan(self.shape, self.shape)  # the step to come, or in flight
        self.phases = PhaseBook(log, scenario.run.warmup_s)
        self.preemptions = 0
        self.outstanding = 0  # requests submitted and not finished

        self._log = log
        self._max_tokens = engine.max_num_batched_tokens
        self._whole_prompts = engine.scheduler.admission != "first_chunk"
        self.scans = engine.scheduler.scans_waiting
        self._separate = engine.scheduler.batching == "separate"
        self._cold_start = adapters.cold_start
        self._retry_after_s = adapters.retry_after_s
        # Of those whose adapters are hot, or were.
        self.queue = make_queue(spec.deployment, self.memory)
        self.ordered = isinstance(self.queue, OrderedQueue)
        self.meter = ServiceMeter(self.queue, self.decodes, told=not self.ordered)
        self.admitter = Admitter(self, spec)
        self.rules = BatchRules.of(self, spec)
        self.pass_over = PassOver.of(self, spec)
        self.wakes = self.rules is not None or isinstance(self.queue, PrefixFirst)
        self._choose_victim = victim_chooser(spec.deployment)
        self.withdrawals = Withdrawals(self)
        self.leak = PoolLeak(spec, self.memory)
        self.listener: Callable[[Request, BatchScheduler], None] | None = None  # told of all ends
        self.reserved_blocks = 0  # for the rest of the prompts in `prefilling`
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
        if request.adapter >= 0 and not request.base_fallback:
            tiers = self.tiers
            state = tiers.look_up(request, now)
            # What another replica has begun goes on with its own adapter.
            may_choose = self._cold_start != "wait" and request.preemptions == 0
            if may_choose and tiers.is_cold(state):
                tiers.fetch(state, now)
                if self._cold_start == "reject":
                    request.reason, request.retry_after_s = "cold_start", self._retry_after_s
                    return False
                request.base_fallback = True
            else:
                request.adapter_state = state
                if state.hot != HOT:
                    self._accept(request, now)
                    self.wait_for(state, request, now)
                    return True
        self._accept(request, now)
        self.queue.push(request, now)
        return True

    def _accept(self, request: Request, now: float) -> None:
        self.outstanding += 1
        if self.rules is not None:
            self.rules.came(request, now)

    def wait_for(self, state: AdapterState, request: Request, now: float) -> None:
        """The request waits until its adapter is in GPU memory."""
        self.tiers.wait_for(state, request, self.key(request), now)
        if self.pass_over is not None:
            self.pass_over.waits(request, state, self.tiers.backlog, now)

    def transfer_done(self, transfer: Transfer, now: float, *, failed: bool = False) -> None:
        """The driver has carried out a transfer from `tiers.outbox`, or it failed."""
        state = transfer.adapter
        if failed:
            waiting = self.tiers.failed(transfer, now)
            self._wait_no_more(waiting)
            self.withdrawals.fail_waiting(waiting, "adapter_load", now)
        elif transfer.link == PCIE:
            self.tiers.book(transfer, now)
            self.became_hot(state, now)
        else:
            key = self.key(state.waiting[0]) if state.waiting else 0.0
            self.tiers.arrived(transfer, key, now)
        self._memory_came_free()

    def became_hot(self, state: AdapterState, now: float) -> None:
        """The adapter is in GPU memory, and the requests that waited for it are ready."""
        waiting = self.tiers.became_hot(state, now)
        self._wait_no_more(waiting)
        for request in waiting:
            self.queue.push(request, now)

    def _wait_no_more(self, requests: list[Request]) -> None:
        if self.pass_over is not None:
            for request in requests:
                self.pass_over.waits_no_more(request)

    def _memory_came_free(self) -> None:
        self.admitter.blocked = False
        self._loads.retry()

    def key(self, request: Request) -> float:
        """The request's place among those that wait for adapters, where places do not change."""
        return self.queue.rank(request, 0.0)[0] if self.ordered else request.turn

    @property
    def waiting(self) -> int:
        """Requests here that are not in the batch."""
        return self.outstanding - len(self.running)

    def waiting_requests(self) -> list[Request]:
        """Them, in no useful order."""
        return [*self.queue, *(self.rules or ()), *self.tiers.waiting_requests()]

    def wants_step(self, now: float) -> bool:
        """Whether `schedule` might do more than let the decoding sequences go on."""
        if self.scans and self.passed_over != self.shape.passed_over:
            return True  # the steps to come take another time
        if self.withdrawals.due or self.leak.pending:
            return True
        if self.rules is not None and self.rules.wake_at_s(now) <= now:
            return True
        return (
            self.admitter.may_admit() or self._loads.may_start(now) or self._loads.may_start_ahead()
        )

    @property
    def passed_over(self) -> int:
        """Waiting requests whose adapters are not in GPU memory."""
        return self.waiting - len(self.queue) - len(self.rules or ())

    def wake_at_s(self, now: float) -> float:
        """When `wants_step` may next turn true though nothing comes in or is done; infinity if
        never. Without `wakes` it need not be asked."""
        at_s = inf if self.rules is None else self.rules.wake_at_s(now)
        if isinstance(self.queue, PrefixFirst) and self.tiers.backlog:
            at_s = min(at_s, self.queue.wake_at_s(now))  # which request is next bears on loads
        return at_s

    # --- one step -----------------------------------------------------------------------

    def schedule(self, now: float) -> StepPlan | None:
        """Decide the next step, or the run of alike decode steps. None: nothing to do."""
        plan, shape = self.plan, self.shape
        if self.withdrawals.due:
            self.withdrawals.carry_out(now)
        if self.leak.pending:
            self.leak.take(now)
        if self.rules is not None:
            self.rules.tick(now)
        undisturbed = True
        if self.decodes.next_blocks() > self.memory.free_blocks:
            undisturbed = self._ensure_growth(now)
        budget = self._max_tokens - shape.decode_seqs
        if self.prefilling:
            budget, undisturbed = self._continue_prefills(budget, now, undisturbed)
        if undisturbed or not self.running:
            if self.pass_over is not None and self.pass_over.holds_all(self, now):
                # What was loaded for those who have to wait may be in the way.
                self.tiers.hot.give_up_fresh()
                self._loads.retry()
            self._loads.start(now)
            while self.admitter.may_admit() and self.admitter.steps_to_admission() <= 0:
                budget = self.admitter.admit(budget, now)
                if not self._loads.may_start(now):
                    break
                # Requests whose adapters were evicted meanwhile have gone back to the backlog.
                self._loads.start(now)
            self._loads.start_ahead(now)
        if self.scans:
            shape.passed_over = self.passed_over
        plan.steps = 1
        plan.timed = plan.chunks_alone() if self._separate and plan.chunks else shape
        due = False
        if self.rules is not None:
            due = self.rules.wake_at_s(now) <= now  # again, by what was admitted or evicted
            if not (plan.chunks or plan.blocking_loads or shape.decode_seqs):
                return self.schedule(now) if due else None
            self.rules.apply_to(plan)
        if self.prefilling or self.phases.paused or plan.blocking_loads:
            pausing = self.running.values() if self._separate and plan.chunks else ()
            self.phases.step_begins(plan.chunks, pausing, now)
        if plan.chunks or plan.blocking_loads:
            return plan
        if not shape.decode_seqs:
            return None
        if undisturbed and not (self.prefilling or self.leak.pending or due or plan.stall_s):
            decodes = self.decodes
            plan.steps = decodes.steps_within(self.memory.free_blocks, decodes.steps_to_finish())
            if self.admitter.may_admit() and (wait := self.admitter.steps_to_admission()) > 0:
                plan.steps = min(plan.steps, wait)
        return plan

    def complete(self, now: float, steps: int, step_s: float, load_s: float = 0.0) -> None:
        """`steps` of the planned steps have been done, each taking `step_s` seconds on average;
        `load_s` of that went into the plan's blocking loads."""
        plan, decodes, log = self.plan, self.decodes, self._log
        plan.stall_s = 0.0
        if self._separate and plan.chunks:
            steps = 0  # the decoding sequences have paused
        log.step_s.append(step_s)
        log.steps.append(steps)
        self.memory.take_blocks(decodes.next_blocks() if steps == 1 else decodes.new_blocks(steps))
        decodes.advance(steps)
        while (request := decodes.pop_finished()) is not None:
            self.phases.decode_ends(request, now)
            kv_tokens = self._stop_decoding(request)
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
        while not self.find_room(0, len(self.running) - 1, now):
            self.preempt(self._choose_victim(self.running, self.plan), now)
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
            while request.status == RUNNING and not self.find_room(
                blocks, len(self.running) - 1, now
            ):
                self.preempt(self._choose_victim(self.running, self.plan), now)
                undisturbed = False
            if request.status == RUNNING:  # else it was preempted, now or for one before it
                self.memory.take_blocks(blocks)
                self.plan.add_chunk(request, chunk)
                self.reserved_blocks -= self.to_reserve(done, done + chunk)
                budget -= chunk
        return budget, undisturbed

    def to_reserve(self, done: int, target: int) -> int:
        """KV blocks to keep for a prompt between two counts of its tokens."""
        return self.memory.blocks_between(done, target) if self._whole_prompts else 0

    def find_room(self, blocks: int, others: int, now: float) -> bool:
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
        for request, chunk in self.plan.take_chunks():
            request.prefilled_tokens += chunk
            if request.prefilled_tokens < request.prefill_target:
                continue
            self.prefilling.remove(request)
            self.phases.prefilled(request, now)
            kv_tokens = request.prefill_target
            self.memory.adopt_prefix(request, kv_tokens, now)
            self.meter.first_token(request.tenant)
            if request.emitted_tokens == request.output_tokens:
                self._finish(request, kv_tokens, now)
            else:
                self.meter.joins(request.tenant)
                self.decodes.join(request, kv_tokens)
                self.phases.decode_begins(request)

    # --- what goes out ------------------------------------------------------------------

    def _finish(self, request: Request, kv_tokens: int, now: float) -> None:
        self._leave_batch(request, kv_tokens, now)
        request.status = COMPLETED
        request.finish_s = now
        self.over(request)

    def over(self, request: Request) -> None:
        """The request has ended here."""
        self.outstanding -= 1
        self.queue.on_finish(request)
        if self.rules is not None:
            self.rules.over(request, request.finish_s)
        if self.listener is not None:
            self.listener(request, self)
        self.finished.append(request)

    def preempt(self, request: Request, now: float) -> None:
        """Throw a request out of the batch; its tokens are computed again later."""
        self.drop(request, now)
        request.status = WAITING
        request.preemptions += 1
        self.preemptions += 1
        self.queue.push(request, now)

    def drop(self, request: Request, now: float) -> None:
        """Take a request out of the batch, at a step boundary."""
        if request.finish_step >= 0:
            self.phases.decode_ends(request, now)
            kv_tokens = self._stop_decoding(request)
            self.plan.decoder_left(request.adapter_state)
        else:
            kv_tokens = request.prefilled_tokens
            self.prefilling.remove(request)
            self.reserved_blocks -= self.to_reserve(kv_tokens, request.prefill_target)
            self.phases.prefill_preempted(request, now)
        self._leave_batch(request, kv_tokens, now)

    def forget(self, request: Request) -> None:
        """Take a request out of wherever it waits."""
        state = request.adapter_state
        if state is not None and request in state.waiting:
            self._wait_no_more([request])
            self.tiers.stop_waiting(state, request)
            if state.waiting:
                self.tiers.requeue(state, self.key(state.waiting[0]))
            return
        if self.rules is None or not self.rules.forget(request):
            self.queue.remove(request)
        if state is not None and state.fresh:
            self.tiers.hot.give_up(state)
            self._memory_came_free()

    def _stop_decoding(self, request: Request) -> int:
        """Returns the KV tokens that the request holds."""
        self.meter.leaves(request.tenant)
        return self.decodes.leave(request)

    def _leave_batch(self, request: Request, kv_tokens: int, now: float) -> None:
        del self.running[request.index]
        self.memory.release(request, kv_tokens, now)
        if self.rules is not None:
            self.rules.left(request, now)
        self._memory_came_free()
