"""Shapes of models, and what one of several GPUs has of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernels.shapes import ModelShape

SHAPE = ModelShape(
    hidden_size=96,
    intermediate_size=768,
    num_hidden_layers=1,
    num_attention_heads=48,
    num_key_value_heads=6,
    head_dim=16,
    vocab_size=32,
)


@pytest.mark.parametrize(("gpus", "kv_heads"), [(1, 6), (2, 3), (3, 2), (6, 1), (12, 1), (24, 1)])
def test_kv_heads_are_split_or_held_by_several_gpus(gpus: int, kv_heads: int) -> None:
    shard = SHAPE.shard(gpus)
    assert shard.num_key_value_heads == kv_heads
    assert shard.num_attention_heads == 48 // gpus


@pytest.mark.parametrize("gpus", [4, 8, 16])
def test_kv_heads_that_are_neither_split_nor_shared_evenly_are_refused(gpus: int) -> None:
    told = rf"num_key_value_heads \(6\) cannot be split over {gpus} GPUs"
    with pytest.raises(ValueError, match=told):
        SHAPE.shard(gpus)


def test_heads_and_mlp_that_cannot_be_split_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_attention_heads \(48\) .* over 36 GPUs"):
        SHAPE.shard(36)
    with pytest.raises(ValueError, match=r"intermediate_size \(784\) .* over 3 GPUs"):
        replace(SHAPE, intermediate_size=784).shard(3)


@pytest.mark.parametrize("name", ["num_key_value_heads", "num_hidden_layers", "head_dim"])
def test_sizes_below_one_are_refused(name: str) -> None:
    for size in (0, -16):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, not {size}"):
            replace(SHAPE, **{name: size})  # type: ignore[arg-type]
