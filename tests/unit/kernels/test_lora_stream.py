"""An adapter's matrices lie in its pages where the tables say, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kernels.lora_stream import LoraModule, pack_adapter, stream_layout, stream_pages
from kernels.shapes import MODULES, ModelShape

SHAPE = ModelShape(
    hidden_size=48,
    intermediate_size=112,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    vocab_size=32,
)
LLAMA_8B = ModelShape(
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=128_256,
)


def random_weights(
    shape: ModelShape, seed: int, share: float = 0.7
) -> dict[tuple[int, str], LoraModule]:
    """Matrices of ranks 1 to 9 for a share of the modules, in no order."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for place in rng.permutation(shape.num_hidden_layers * len(MODULES)).tolist():
        layer, module = divmod(place, len(MODULES))
        inner, outer = shape.linear_shapes[MODULES[module]]
        rank = int(rng.integers(1, 10))
        if rng.random() < share:
            weights[layer, MODULES[module]] = LoraModule(
                torch.randn(rank, inner, generator=generator),
                torch.randn(outer, rank, generator=generator),
                scale=float(rng.integers(1, 9)) / rank,
            )
    return weights


@pytest.mark.parametrize("seed", range(8))
def test_a_and_b_are_found_at_their_offsets_and_fill_the_stream(seed: int) -> None:
    weights = random_weights(SHAPE, seed)
    packed = pack_adapter(SHAPE, weights, torch.float32)
    stream = packed.pages.flatten()
    seen = torch.zeros(len(stream), dtype=torch.int32)
    for layer in range(SHAPE.num_hidden_layers):
        for at, name in enumerate(MODULES):
            start, rank = int(packed.base[layer, at]), int(packed.rank[layer, at])
            module = weights.get((layer, name))
            if module is None:
                assert rank == 0
                continue
            assert rank == len(module.a)
            assert packed.scale[layer, at] == np.float32(module.scale)
            between, end = start + module.a.numel(), start + module.a.numel() + module.b.numel()
            assert torch.equal(stream[start:between].view(rank, -1), module.a)
            assert torch.equal(stream[between:end].view(rank, -1).T, module.b)
            seen[start:end] += 1
    elements = sum(module.a.numel() + module.b.numel() for module in weights.values())
    assert (seen[:elements] == 1).all(), "gaps or overlaps"
    assert (stream[elements:] == 0).all(), "the last page ends in zeros"
    assert len(packed.pages) == -(-elements // SHAPE.kv_dim)


def test_modules_lie_layer_by_layer_in_the_order_of_modules() -> None:
    rank = np.arange(SHAPE.num_hidden_layers * len(MODULES)).reshape(-1, len(MODULES))
    base, elements = stream_layout(SHAPE, rank)
    assert (np.diff(base.ravel()) >= 0).all()
    widths = np.array([sum(io) for io in SHAPE.linear_shapes.values()])
    assert elements == (rank * widths).sum() == base[-1, -1] + rank[-1, -1] * widths[-1]


@pytest.mark.parametrize("rank", [1, 16, 128])
def test_a_rank_of_all_modules_of_llama_8b_takes_80_pages_a_layer(rank: int) -> None:
    ranks = np.full((LLAMA_8B.num_hidden_layers, len(MODULES)), rank, dtype=np.int32)
    assert stream_pages(LLAMA_8B, ranks) == 80 * rank * LLAMA_8B.num_hidden_layers


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_elements_are_rounded_to_the_pool_s_type(dtype: torch.dtype) -> None:
    weights = random_weights(SHAPE, seed=1)
    exact = pack_adapter(SHAPE, weights, torch.float32)
    packed = pack_adapter(SHAPE, weights, dtype)
    assert torch.equal(packed.pages, exact.pages.to(dtype))
    assert torch.equal(packed.scale, exact.scale)


def test_an_adapter_of_no_modules_takes_no_pages() -> None:
    packed = pack_adapter(SHAPE, {}, torch.float16)
    assert packed.pages.shape == (0, SHAPE.kv_dim)
    assert not packed.rank.any()


@pytest.mark.parametrize(
    ("place", "a", "b", "message"),
    [
        ((0, "lm_head"), (4, 48), (32, 4), "no module 'lm_head': an adapter may have q_proj, "),
        ((3, "q_proj"), (4, 48), (64, 4), "no layer 3: the model has layers 0 to 2"),
        ((0, "q_proj"), (4, 64), (48, 4), r"A \[4, 64\] and B \[48, 4\] are not \[rank, 48\]"),
        ((1, "o_proj"), (4, 64), (48, 5), r"layer 1, o_proj: A \[4, 64\] and B \[48, 5\]"),
        ((1, "o_proj"), (256,), (48, 4), r"A \[256\]"),
    ],
)
def test_what_does_not_fit_the_model_is_named(
    place: tuple[int, str], a: Any, b: Any, message: str
) -> None:
    module = LoraModule(torch.zeros(a), torch.zeros(b), 1.0)
    with pytest.raises(ValueError, match=message):
        pack_adapter(SHAPE, {place: module}, torch.float32)
