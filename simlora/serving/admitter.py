"""Which waiting requests come into the batch, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlora.serving.adapter_state import HOT
from simlora.serving.peak import peak_of
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import RUNNING, Request

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler


class Admitter:
    """Admits requests from one scheduler's queue at its step boundaries, while tokens, sequences,
    memory and the bounds on the batch allow it."""

    def __init__(self, scheduler: BatchScheduler, spec: ReplicaSpec) -> None:
        engine = spec.deployment.scenario.engine
        # An admission that found no memory is not tried again until some may have come free.
        self.blocked = False
        self._scheduler = scheduler
        self._max_seqs = engine.max_num_seqs
        self._chunked = engine.scheduler.chunked_prefill
        self._whole_requests = engine.scheduler.admission == "whole_request"
        self._admit_every = engine.scheduler.admit_every_steps
        self._last_admission = -self._admit_every  # step count at the last admission

    def may_admit(self) -> bool:
        """Whether `admit` might find a request to let in."""
        scheduler = self._scheduler
        if self.blocked or len(scheduler.running) >= self._max_seqs:
            return False
        if len(scheduler.queue) > 0:
            return True
        return scheduler.rules is not None and scheduler.rules.may_release()

    def steps_to_admission(self) -> int:
        """Decode steps until requests may be admitted again; 0 or less: now."""
        scheduler = self._scheduler
        if not scheduler.shape.decode_seqs:
            return 0
        return self._last_admission + self._admit_every - scheduler.decodes.step_count

    def admit(self, budget: int, now: float) -> int:
        """Let waiting requests into the batch while `budget` tokens last. Returns what is left of
        them."""
        scheduler = self._scheduler
        queue, memory, running = scheduler.queue, scheduler.memory, scheduler.running
        rules, pass_over = scheduler.rules, scheduler.pass_over
        scheduler.meter.settle()
        while budget > 0 and len(running) < self._max_seqs:
            request = queue.peek(now)
            if request is None:
                if rules is not None and rules.exhausted(now):
                    continue
                break
            state = request.adapter_state
            if state is not None and state.hot != HOT:  # evicted while the request waited
                queue.remove(request)
                scheduler.wait_for(state, request, now)
                continue
            if pass_over is not None and pass_over.stops(request, now):
                if rules is not None and rules.may_release():
                    rules.exhausted(now)  # among those parked may be some that come before
                    continue
                break
            if rules is not None and not rules.lets_in(request, now):
                continue
            target = request.prompt_tokens + request.emitted_tokens
            cached = memory.acquire_prefix(request, target, now)
            chunk = target - cached
            if chunk > budget:
                if self._chunked:
                    chunk = budget
                elif scheduler.plan.chunks:  # a whole prompt waits for a step with room
                    memory.release_prefix(request, now)
                    return 0
            blocks = memory.blocks_between(cached, cached + chunk)
            later_blocks = scheduler.to_reserve(cached + chunk, target)
            if state is not None:
                scheduler.tiers.hot.use(state)
            # A prompt comes in only if all of it fits beside those still being computed: else long
            # prompts would throw each other out, again and again.
            if not self._fits_to_the_end(request) or not scheduler.find_room(
                blocks + later_blocks + scheduler.reserved_blocks, len(running), now
            ):
                if state is not None:
                    scheduler.tiers.hot.leave(state, now)
                memory.release_prefix(request, now)
                self.blocked = True
                break
            queue.pop(now)
            self._last_admission = scheduler.decodes.step_count
            memory.count_prefix(request, target, cached)
            scheduler.phases.admitted(request, now)
            if request.preemptions == 0:
                request.cached_tokens = cached
            request.status = RUNNING
            request.prefilled_tokens = cached
            request.prefill_target = target
            running[request.index] = request
            if rules is not None:
                rules.joined(request, now)
            scheduler.prefilling.append(request)
            scheduler.reserved_blocks += later_blocks
            memory.take_blocks(blocks)
            scheduler.plan.add_chunk(request, chunk)
            budget -= chunk
        return budget

    def _fits_to_the_end(self, request: Request) -> bool:
        """Whether the batch with `request` will never run out of memory, where that is asked."""
        scheduler = self._scheduler
        if not self._whole_requests or not scheduler.running:
            return True
        peak = peak_of(request, scheduler.running.values(), scheduler.decodes.step_count)
        return scheduler.memory.blocks(peak) <= scheduler.memory.reclaimable_blocks
