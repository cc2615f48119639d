"""The engine: a model and its pool, run step by step as whoever schedules says."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kernels.lora_batch import LoraBatch
from kernels.pool import DevicePool
from kernels.shapes import ModelShape
from simlora.engine.backend import backend_for
from simlora.engine.graphs import CapturedStep, graph_sizes
from simlora.engine.model import Model
from simlora.engine.sampling import sample
from simlora.engine.step_inputs import InputBuffer, Ints, SequenceStep, StepInputs
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

    On a GPU, steps without prefill are padded to one of few sizes and replayed as CUDA graphs.
    Where all sequences take their likeliest token, the graph ends with it; where some draw theirs,
    it ends with the logits, and the draw is launched by itself.
    """

    def __init__(
        self, shape: ModelShape, weights: ModelWeights, pool: DevicePool, limits: Limits
    ) -> None:
        self.pool = pool
        self.limits = limits
        self.device = pool.pages.device
        self.ops = backend_for(self.device)
        self.model = Model(shape, weights, pool, self.ops, limits.max_model_len)
        self._buffer = InputBuffer(
            limits.max_num_seqs,
            max(limits.max_num_batched_tokens, limits.max_num_seqs),
            -(-limits.max_model_len // pool.block_tokens),
            pool.block_tokens,
            self.device,
        )
        self._workspace = self.ops.decode_workspace(
            limits.max_num_seqs, shape, self._buffer.max_blocks, pool.block_tokens, self.device
        )
        self._lora_batches: dict[int, LoraBatch] = {}
        on_gpu = self.device.type == "cuda"
        self._graph_sizes = graph_sizes(limits.max_num_seqs) if on_gpu else []
        self._graph_memory = torch.cuda.graph_pool_handle() if on_gpu else None
        self._graphs: dict[tuple[int, bool, bool], CapturedStep] = {}
        self._replayed_logits: Tensor | None = None  # one for all graphs: they are large

    @torch.inference_mode()
    def run(self, decodes: Sequence[SequenceStep], prefills: Sequence[SequenceStep]) -> Ints:
        """Compute one step and return the next token of each sequence, decodes first. Waits for
        the device."""
        self.pool.flush_tables()
        sequences = (*decodes, *prefills)
        slots = {sequence.slot for sequence in sequences} - {-1}
        self.pool.wait(slots)
        drawn = any(each.sampling is not None and each.sampling.draws for each in sequences)
        if self._graph_sizes and not prefills:
            said = self._replay(decodes, bool(slots), drawn)
        else:
            inputs = self._buffer.fill(decodes, prefills)
            longest = max((len(sequence.tokens) for sequence in prefills), default=0)
            said = self._forward(inputs, bool(slots), drawn, longest)
        said = said[: len(sequences)]
        if drawn:
            said = sample(said, [(each.sampling, each.context) for each in sequences])
        return said.cpu().numpy().astype(np.int32)

    def _forward(self, inputs: StepInputs, adapted: bool, drawn: bool, longest: int) -> Tensor:
        """Logits if tokens are to be `drawn` from them, or else the likeliest tokens."""
        lora = self._lora_batch(len(inputs.token)) if adapted else None
        compute = self.model.logits if drawn else self.model.forward
        return compute(inputs, lora, self._workspace, longest)

    def _replay(self, decodes: Sequence[SequenceStep], adapted: bool, drawn: bool) -> Tensor:
        size = self._graph_sizes[bisect_left(self._graph_sizes, len(decodes))]
        inputs = self._buffer.fill(decodes, (), size)
        graph = self._graphs.get((size, adapted, drawn))
        if graph is None:
            step: Callable[[], Tensor] = partial(self._forward, inputs, adapted, drawn, 0)
            if drawn:
                step = partial(self._keep_logits, step)
            graph = CapturedStep(step, self.device, self._graph_memory)
            self._graphs[size, adapted, drawn] = graph
        return graph.launch()

    def _keep_logits(self, step: Callable[[], Tensor]) -> Tensor:
        """Compute a step's logits, and put them where all graphs do."""
        logits = step()
        if self._replayed_logits is None:
            self._replayed_logits = logits.new_empty(self.limits.max_num_seqs, logits.shape[1])
        return self._replayed_logits[: len(logits)].copy_(logits)

    def _lora_batch(self, tokens: int) -> LoraBatch:
        """Buffers of the LoRA kernels for `tokens` tokens or more, of few different sizes."""
        size = max(LEAST_LORA_TOKENS, 1 << (tokens - 1).bit_length())
        found = self._lora_batches.get(size)
        if found is None:
            slots = len(self.pool.tables.rank)
            found = self._lora_batches[size] = LoraBatch(
                size, slots, self.limits.max_rank, self.model.shape, self.device
            )
        return found
