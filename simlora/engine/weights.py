"""The base model's weights, fused as the layers use them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.shapes import ModelShape


@dataclass(slots=True)
class LayerWeights:
    """One layer. Projections are [out, in], those that share an input stacked along out."""

    attention_norm: Tensor  # [hidden]
    qkv: Tensor  # [q_dim + 2 kv_dim, hidden]
    qkv_bias: Tensor | None  # [q_dim + 2 kv_dim]
    o: Tensor  # [hidden, q_dim]
    mlp_norm: Tensor  # [hidden]
    gate_up: Tensor  # [2 intermediate, hidden]
    down: Tensor  # [hidden, intermediate]


@dataclass(slots=True)
class ModelWeights:
    """A whole model; `head` is `embedding` itself where they are tied."""

    embedding: Tensor  # [vocabulary, hidden]
    layers: list[LayerWeights]
    norm: Tensor  # [hidden]
    head: Tensor  # [vocabulary, hidden]


def random_weights(
    shape: ModelShape,
    dtype: torch.dtype,
    device: torch.device,
    *,
    tied: bool = False,
    seed: int = 0,
) -> ModelWeights:
    """Weights drawn so that activations keep their size from layer to layer, for timing and for
    tests: how long a product takes does not depend on what is multiplied."""
    generator = torch.Generator(device).manual_seed(seed)

    def matrix(out: int, inner: int) -> Tensor:
        drawn = torch.empty(out, inner, dtype=dtype, device=device)
        return drawn.normal_(0.0, inner**-0.5, generator=generator)

    def ones(width: int) -> Tensor:
        return torch.ones(width, dtype=dtype, device=device)

    hidden, inter, qkv = shape.hidden_size, shape.intermediate_size, shape.q_dim + 2 * shape.kv_dim
    layers = [
        LayerWeights(
            attention_norm=ones(hidden),
            qkv=matrix(qkv, hidden),
            qkv_bias=matrix(1, qkv)[0] if shape.attention_bias else None,
            o=matrix(hidden, shape.q_dim),
            mlp_norm=ones(hidden),
            gate_up=matrix(2 * inter, hidden),
            down=matrix(hidden, inter),
        )
        for _ in range(shape.num_hidden_layers)
    ]
    embedding = matrix(shape.vocab_size, hidden)
    head = embedding if tied else matrix(shape.vocab_size, hidden)
    return ModelWeights(embedding, layers, ones(hidden), head)
