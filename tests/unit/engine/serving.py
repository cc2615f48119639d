"""An engine with sequences to serve, in a pool where whatever nobody wrote is NaN.

Pages, blocks and slots are taken in no order, and sequences that grow together take theirs in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kernels.accounts import KV
from kernels.lora_batch import LoraBatch
from kernels.lora_stream import LoraModule, pack_adapter
from kernels.pool import DevicePool
from kernels.shapes import MODULES, ModelShape
from simlora.engine.engine import Engine, Limits
from simlora.engine.model import Model
from simlora.engine.step_inputs import SequenceStep, StepInputs
from simlora.engine.weights import ModelWeights, random_weights
from simlora.serving.page_pool import PagePool
from tests.unit.engine.reference_model import Adapter, greedy

BLOCK_TOKENS = 4
MAX_MODEL_LEN = 64
MAX_RANK = 40
BASE: Adapter = {}

CPU = torch.device("cpu")
TINY = ModelShape(
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    vocab_size=97,
    rms_norm_eps=0.05,
    rope_theta=100.0,
)


def make_adapter(shape: ModelShape, ranks: Sequence[int], seed: int) -> Adapter:
    """Ranks of all modules of all layers, in turn; 0 leaves a module out. What it adds is as large
    as what the base model gives."""
    generator = torch.Generator().manual_seed(seed)
    modules = [(layer, name) for layer in range(shape.num_hidden_layers) for name in MODULES]
    made = {}
    for number, (module, rank) in enumerate(zip(modules, ranks, strict=True)):
        inner, outer = shape.linear_shapes[module[1]]
        if rank:
            a = torch.randn(rank, inner, generator=generator) * inner**-0.5
            b = torch.randn(outer, rank, generator=generator) * rank**-0.5
            made[module] = LoraModule(a, b, 0.5 + 0.1 * number)
    return made


def same_rank(shape: ModelShape, rank: int, seed: int) -> Adapter:
    return make_adapter(shape, [rank] * len(MODULES) * shape.num_hidden_layers, seed)


class Recording(Model):
    """A model that keeps the logits of the last step."""

    said: Tensor

    def logits(
        self, inputs: StepInputs, lora: LoraBatch | None, workspace: Tensor, max_query_len: int
    ) -> Tensor:
        self.said = super().logits(inputs, lora, workspace, max_query_len)
        return self.said


@dataclass(eq=False)
class Served:
    """A sequence, and what the engine has said of it."""

    prompt: list[int]
    adapter: int | None  # its number; None: the base model
    blocks: list[int] = field(default_factory=list)
    computed: int = 0
    tokens: list[int] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Prompt tokens that are not computed."""
        return max(0, len(self.prompt) - self.computed)


class Service:
    """An engine, its pool and `adapters`, all resident."""

    def __init__(
        self,
        shape: ModelShape = TINY,
        adapters: Sequence[Adapter] = (),
        *,
        tied: bool = False,
        seed: int = 0,
        max_num_seqs: int = 8,
    ) -> None:
        self.shape = shape
        self.adapters = list(adapters)
        self.weights = uneven_norms(random_weights(shape, torch.float32, CPU, tied=tied, seed=seed))
        packed = [pack_adapter(shape, adapter, torch.float32) for adapter in adapters]
        blocks = max_num_seqs * MAX_MODEL_LEN // BLOCK_TOKENS
        block_pages = 2 * shape.num_hidden_layers * BLOCK_TOKENS
        self.pool = DevicePool(
            shape,
            PagePool(blocks * block_pages + sum(len(each.pages) for each in packed) + 3),
            block_tokens=BLOCK_TOKENS,
            adapters=len(packed) + 2,
            max_adapter_pages=max((len(each.pages) for each in packed), default=1),
            dtype=torch.float32,
            device=CPU,
        )
        self.pool.pages.fill_(torch.nan)
        generator = np.random.default_rng(seed)
        for free in (self.pool._free_pages, self.pool._free_blocks, self.pool._free_slots):
            generator.shuffle(free.ids)
        self.slots = [self.pool.load(each) for each in packed]
        limits = Limits(max_num_seqs, max_num_seqs * MAX_MODEL_LEN, MAX_MODEL_LEN, MAX_RANK)
        self.engine = Engine(shape, self.weights, self.pool, limits)
        self.model = Recording(shape, self.weights, self.pool, self.engine.ops, MAX_MODEL_LEN)
        self.engine.model = self.model

    def add(self, prompt_tokens: int, adapter: int | None = None, seed: int = 0) -> Served:
        """A sequence with a random prompt."""
        drawn = np.random.default_rng(seed).integers(0, self.shape.vocab_size, prompt_tokens)
        return Served(drawn.tolist(), adapter)

    def step(self, decodes: Sequence[Served], prefills: Sequence[tuple[Served, int]] = ()) -> None:
        """One step of the engine; prefills are (sequence, tokens of its prompt to compute)."""
        work = [self.part(each, [each.tokens[-1]]) for each in decodes]
        chunks = [
            self.part(each, each.prompt[each.computed : each.computed + count])
            for each, count in prefills
        ]
        following = self.engine.run(work, chunks)
        sequences = [*decodes, *(each for each, _ in prefills)]
        assert following.shape == (len(sequences),)
        for sequence, part, token, said in zip(
            sequences, [*work, *chunks], following.tolist(), self.model.said, strict=False
        ):
            sequence.computed += len(part.tokens)
            if not sequence.waiting:
                sequence.tokens.append(token)
                sequence.logits.append(said.clone())

    def generate(self, sequence: Served, count: int) -> None:
        """Compute the prompt, and then alone what makes `count` tokens."""
        if sequence.waiting:
            self.step([], [(sequence, sequence.waiting)])
        while len(sequence.tokens) < count:
            self.step([sequence])

    def check(self, *sequences: Served) -> None:
        """Raises AssertionError unless the engine said what the reference says."""
        for sequence in sequences:
            assert sequence.tokens
            adapter = BASE if sequence.adapter is None else self.adapters[sequence.adapter]
            tokens, logits = greedy(
                self.shape, self.weights, sequence.prompt, len(sequence.tokens), adapter
            )
            assert sequence.tokens == tokens
            assert_close(torch.stack(sequence.logits), logits)

    def rows_of(self, sequence: Served, positions: range) -> set[int]:
        """The pool's pages that hold K and V of these tokens."""
        return {
            int(page)
            for position in positions
            for page in self.pool.block_pages[
                sequence.blocks[position // BLOCK_TOKENS], :, :, position % BLOCK_TOKENS
            ].flatten()
        }

    def part(self, sequence: Served, tokens: list[int]) -> SequenceStep:
        """The sequence's next `tokens` as a step takes them, blocks for them included."""
        while len(sequence.blocks) * BLOCK_TOKENS < sequence.computed + len(tokens):
            sequence.blocks += self.pool.take_blocks(1, KV).tolist()
        slot = -1 if sequence.adapter is None else self.slots[sequence.adapter]
        blocks = np.array(sequence.blocks, dtype=np.int32)
        return SequenceStep(np.array(tokens, dtype=np.int32), sequence.computed, blocks, slot)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """float32 against float64; NaN is close to nothing."""
    assert (actual.double() - expected).abs().max() <= 2e-5 * expected.abs().max()


def uneven_norms(weights: ModelWeights) -> ModelWeights:
    """The same weights, but with norms that are not all ones."""
    generator = torch.Generator().manual_seed(1)
    for layer in weights.layers:
        layer.attention_norm.uniform_(0.5, 1.5, generator=generator)
        layer.mlp_norm.uniform_(0.5, 1.5, generator=generator)
    weights.norm.uniform_(0.5, 1.5, generator=generator)
    return weights
