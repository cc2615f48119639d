"""An engine with sequences to serve, in a pool where whatever nobody wrote is NaN.

Pages, blocks and slots are taken in no order, and sequences that grow together take theirs in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

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
from simlora.engine.sampling import Sampling
from simlora.engine.step_inputs import SequenceStep, StepInputs
from simlora.engine.weights import LayerWeights, ModelWeights, random_weights
from simlora.serving.page_pool import PagePool
from tests.unit.engine.reference_model import Adapter, greedy

BLOCK_TOKENS = 4
MAX_MODEL_LEN = 64
MAX_RANK = 40
BASE: Adapter = {}

CPU = torch.device("cpu")
# On a GPU the engine runs the Triton kernels and CUDA graphs; the reference stays on the CPU.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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


# Every second module of one, a few of another, all of the rest; none of the same rank.
PARTIAL = make_adapter(TINY, [3, 0] * len(MODULES), seed=1)
ATTENTION = make_adapter(TINY, [16, 0, 7, 1, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0], seed=2)
ADAPTERS = (PARTIAL, ATTENTION, same_rank(TINY, 17, seed=3), same_rank(TINY, 1, seed=4))


class Recording(Model):
    """A model that keeps the logits of the last step, in the same place each time: a CUDA graph
    runs no Python, but it repeats the copy."""

    said: Tensor  # [max_num_seqs, vocabulary]

    def logits(
        self, inputs: StepInputs, lora: LoraBatch | None, workspace: Tensor, max_query_len: int
    ) -> Tensor:
        logits = super().logits(inputs, lora, workspace, max_query_len)
        self.said[: len(logits)].copy_(logits)
        return logits


class ReplayedStep:
    """What a CUDA graph is, without one: the step that it was made of, whenever it is launched."""

    made: int = 0

    def __init__(self, step: Callable[[], Tensor], device: torch.device, memory: object) -> None:
        ReplayedStep.made += 1
        self.launch = step


@dataclass(eq=False)
class Served:
    """A sequence, and what the engine has said of it."""

    prompt: list[int]
    adapter: int | None  # its number; None: the base model
    blocks: list[int] = field(default_factory=list)
    computed: int = 0
    tokens: list[int] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    sampling: Sampling | None = None

    @property
    def waiting(self) -> int:
        """Prompt tokens that are not computed."""
        return max(0, len(self.prompt) - self.computed)


class Service:
    """An engine on `DEVICE`, its pool and `adapters`, all resident."""

    def __init__(
        self,
        shape: ModelShape = TINY,
        adapters: Sequence[Adapter] = (),
        *,
        tied: bool = False,
        seed: int = 0,
        max_num_seqs: int = 8,
        max_model_len: int = MAX_MODEL_LEN,
        weights: ModelWeights | None = None,
    ) -> None:
        self.shape = shape
        self.adapters = list(adapters)
        self.weights = weights or uneven_norms(
            random_weights(shape, torch.float32, CPU, tied=tied, seed=seed)
        )
        self.packed = [pack_adapter(shape, adapter, torch.float32) for adapter in adapters]
        blocks = max_num_seqs * -(-max_model_len // BLOCK_TOKENS)
        block_pages = 2 * shape.num_hidden_layers * BLOCK_TOKENS
        self.pool = DevicePool(
            shape,
            PagePool(blocks * block_pages + sum(len(each.pages) for each in self.packed) + 3),
            block_tokens=BLOCK_TOKENS,
            adapters=len(self.packed) + 2,
            max_adapter_pages=max((len(each.pages) for each in self.packed), default=1),
            dtype=torch.float32,
            device=DEVICE,
        )
        self.pool.pages.fill_(torch.nan)
        generator = np.random.default_rng(seed)
        for free in (self.pool._free_pages, self.pool._free_blocks, self.pool._free_slots):
            generator.shuffle(free.ids)
        self.slots = [self.pool.load(each) for each in self.packed]
        limits = Limits(max_num_seqs, max_num_seqs * max_model_len, max_model_len, MAX_RANK)
        here = moved(self.weights, DEVICE)
        self.engine = Engine(shape, here, self.pool, limits)
        self.model = Recording(shape, here, self.pool, self.engine.ops, max_model_len)
        self.model.said = torch.full((max_num_seqs, shape.vocab_size), torch.nan, device=DEVICE)
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
            sequences,
            [*work, *chunks],
            following.tolist(),
            self.model.said[: len(sequences)].to(CPU, copy=True),
            strict=True,
        ):
            sequence.computed += len(part.tokens)
            if not sequence.waiting:
                sequence.tokens.append(token)
                sequence.logits.append(said)

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
        block_pages = self.pool.block_pages.cpu()
        return {
            page
            for position in positions
            for page in block_pages[
                sequence.blocks[position // BLOCK_TOKENS], :, :, position % BLOCK_TOKENS
            ]
            .flatten()
            .tolist()
        }

    def part(self, sequence: Served, tokens: list[int]) -> SequenceStep:
        """The sequence's next `tokens` as a step takes them, blocks for them included."""
        while len(sequence.blocks) * BLOCK_TOKENS < sequence.computed + len(tokens):
            sequence.blocks += self.pool.take_blocks(1, KV).tolist()
        slot = -1 if sequence.adapter is None else self.slots[sequence.adapter]
        blocks = np.array(sequence.blocks, dtype=np.int32)
        computed = np.array(tokens, dtype=np.int32)
        return SequenceStep(computed, sequence.computed, blocks, slot, sequence.sampling)


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """float32 of any device against float64; NaN is close to nothing."""
    assert (actual.cpu().double() - expected).abs().max() <= 2e-5 * expected.abs().max()


def uneven_norms(weights: ModelWeights) -> ModelWeights:
    """The same weights, but with norms that are not all ones."""
    generator = torch.Generator().manual_seed(1)
    for layer in weights.layers:
        layer.attention_norm.uniform_(0.5, 1.5, generator=generator)
        layer.mlp_norm.uniform_(0.5, 1.5, generator=generator)
    weights.norm.uniform_(0.5, 1.5, generator=generator)
    return weights


def moved(weights: ModelWeights, device: torch.device) -> ModelWeights:
    """The same weights on a device, a tied head still tied. Those that are drawn on it would be
    others, and with them how close the likeliest tokens are."""

    def layer(of: LayerWeights) -> LayerWeights:
        tensors: dict[str, Any] = {each.name: getattr(of, each.name) for each in fields(of)}
        tensors |= {name: each.to(device) for name, each in tensors.items() if each is not None}
        return LayerWeights(**tensors)

    embedding = weights.embedding.to(device)
    return ModelWeights(
        embedding=embedding,
        layers=[layer(each) for each in weights.layers],
        norm=weights.norm.to(device),
        head=embedding if weights.head is weights.embedding else weights.head.to(device),
    )
