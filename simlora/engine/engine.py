"""The engine: a model and its pool, run step by step as whoever schedules says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kernels.lora_batch import LoraBatch
from kernels.pool import DevicePool
from kernels.shapes import ModelShape
from simlora.engine.backend import backend_for
from simlora.engine.model import Model
from simlora.engine.step_inputs import InputBuffer, Ints, SequenceStep
from simlora.engine.weights import ModelWeights

LEAST_LORA_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What the largest step may hold."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    max_rank: int


class Engine:
    """Computes steps. It decides nothing: which sequences, which blocks and which adapters are the
    scheduler's choice, and lie in the pool before a step needs them.
    """

    def __init__(
        self, shape: ModelShape, weights: ModelWeights, pool: DevicePool, limits: Limits
    ) -> None:
        self.pool = pool
        self.limits = limits
        self.device = pool.pages.device
        self.ops = backend_for(self.device)
        self.model = Model(shape, weights, pool, self.ops, limits.max_model_len)
        max_blocks = -(-limits.max_model_len // pool.block_tokens)
        self._workspace = self.ops.decode_workspace(
            limits.max_num_seqs, shape, max_blocks, pool.block_tokens, self.device
        )
        self._buffer = InputBuffer(
            limits.max_num_seqs,
            limits.max_num_batched_tokens,
            max_blocks,
            pool.block_tokens,
            self.device,
        )
        self._lora_batches: dict[int, LoraBatch] = {}

    @torch.inference_mode()
    def run(self, decodes: Sequence[SequenceStep], prefills: Sequence[SequenceStep]) -> Ints:
        """Compute one step and return the next token of each sequence, decodes first. Waits for
        the device."""
        inputs = self._buffer.fill(decodes, prefills)
        lora = self.prepare(decodes, prefills)
        longest = max((len(sequence.tokens) for sequence in prefills), default=0)
        return self.model.forward(inputs, lora, self._workspace, longest).cpu().numpy()

    def prepare(
        self, decodes: Sequence[SequenceStep], prefills: Sequence[SequenceStep]
    ) -> LoraBatch | None:
        """See that blocks and adapters of a step are in place. Returns the buffers of the LoRA
        kernels, None if no sequence has an adapter."""
        self.pool.flush_tables()
        slots = {sequence.slot for sequence in (*decodes, *prefills)} - {-1}
        if not slots:
            return None
        self.pool.wait(slots)
        return self.lora_batch(len(decodes) + sum(len(sequence.tokens) for sequence in prefills))

    def lora_batch(self, tokens: int) -> LoraBatch:
        """Buffers of the LoRA kernels for `tokens` tokens or more, of few different sizes."""
        size = max(LEAST_LORA_TOKENS, 1 << (tokens - 1).bit_length())
        found = self._lora_batches.get(size)
        if found is None:
            slots = len(self.pool.tables.rank)
            found = self._lora_batches[size] = LoraBatch(
                size, slots, self.limits.max_rank, self.model.shape, self.device
            )
        return found
