"""What a scheduler plans for its driver, and what it notes of the steps done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from simlora.serving.adapter_state import AdapterState
from simlora.serving.batch_shape import BatchShape
from simlora.serving.request import Request


class StepLog(Protocol):
    """Where a scheduler notes its steps, for the distribution of inter-token latencies, and whose
    the batch is, for bills: changes in the order of time, copies count as well."""

    step_s: list[float]  # mean duration of a step, one entry per `complete`
    steps: list[int]  # decode steps that entry stands for
    decode_starts: list[list[int]]  # per tier: entry with which a request began to decode
    decode_ends: list[list[int]]  # per tier: entry before which a request had ended
    gaps: list[tuple[int, float]]  # (tier, seconds) between two tokens around a preemption
    weights: bytearray  # of records `phases.WEIGHT`
    drained: int  # records that were in `weights` before
    uses: bytearray  # of records `phases.USE`
    # Records of `weights` by then, adapter, seconds that the batch stood still for its load.
    loads: list[tuple[int, int, float]]


@dataclass(slots=True)
class StepPlan:
    """What the replica does next.

    `shape` is the scheduler's own, kept up to date; `timed` is the shape of the step to come: the
    same, or that of the chunks alone where decodes pause for them.
    """

    shape: BatchShape
    timed: BatchShape
    steps: int = 0  # alike decode steps that may be taken at once; 1 if there is any prefill
    chunks: list[tuple[Request, int]] = field(default_factory=list)  # prefill tokens by request
    blocking_loads: list[AdapterState] = field(default_factory=list)  # prolong the step
    blocking_s: list[float] = field(default_factory=list)  # what each of them takes alone
    stall_s: float = 0.0  # prolongs it as well: weights are merged or unmerged first
    _adapters: list[AdapterState] = field(default_factory=list)  # of chunks, none decoding

    def add_chunk(self, request: Request, chunk: int) -> None:
        """`chunk` more tokens of a prompt are computed in the coming step."""
        self.chunks.append((request, chunk))
        shape, state = self.shape, request.adapter_state
        shape.prefill_tokens += chunk
        shape.prefill_seqs += 1
        shape.prefill_attended_tokens += chunk * request.prefilled_tokens + chunk * (chunk + 1) // 2
        if state is not None:
            shape.lora_tokens += chunk
            shape.lora_token_parameters += chunk * state.parameters
            if not state.decoding and state not in self._adapters:
                self._adapters.append(state)
                shape.distinct_adapters += 1
                shape.distinct_adapter_parameters += state.parameters

    def block_for(self, state: AdapterState, load_s: float) -> None:
        """The coming step is prolonged by the load of an adapter, which alone takes `load_s`."""
        self.blocking_loads.append(state)
        self.blocking_s.append(load_s)

    def decoder_left(self, state: AdapterState | None) -> None:
        """A decoding sequence of an adapter has been thrown out before the step: if it was the last
        one, the adapter is in the step for its chunks alone."""
        if state is None or state.decoding or state in self._adapters:
            return
        if any(request.adapter_state is state for request, _ in self.chunks):
            self._adapters.append(state)
            self.shape.distinct_adapters += 1
            self.shape.distinct_adapter_parameters += state.parameters

    def chunks_alone(self) -> BatchShape:
        """The shape of a step that computes the chunks and nothing else."""
        shape = self.shape
        alone = BatchShape(
            prefill_tokens=shape.prefill_tokens,
            prefill_seqs=shape.prefill_seqs,
            prefill_attended_tokens=shape.prefill_attended_tokens,
            passed_over=shape.passed_over,
        )
        adapters = {}
        for request, chunk in self.chunks:
            if (state := request.adapter_state) is not None:
                adapters[state.index] = state.parameters
                alone.lora_tokens += chunk
                alone.lora_token_parameters += chunk * state.parameters
        alone.distinct_adapters = len(adapters)
        alone.distinct_adapter_parameters = sum(adapters.values())
        return alone

    def take_chunks(self) -> list[tuple[Request, int]]:
        """The chunks, which have been computed; the shape is that of the decodes alone again."""
        shape = self.shape
        shape.prefill_tokens = shape.prefill_seqs = shape.prefill_attended_tokens = 0
        for state in self._adapters:
            shape.distinct_adapters -= 1
            shape.distinct_adapter_parameters -= state.parameters
        self._adapters.clear()
        for request, chunk in self.chunks:
            if request.adapter_state is not None:
                shape.lora_tokens -= chunk
                shape.lora_token_parameters -= chunk * request.adapter_state.parameters
        chunks, self.chunks = self.chunks, []
        return chunks
