"""The base model's weights, fused as the layers use them."""

from __future__ import annotations

from collections.abc import Callable
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

    return _made(shape, tied, matrix, ones)


def empty_weights(
    shape: ModelShape, dtype: torch.dtype, device: torch.device, *, tied: bool
) -> ModelWeights:
    """Weights to be filled in; what they are till then means nothing."""

    def matrix(out: int, inner: int) -> Tensor:
        return torch.empty(out, inner, dtype=dtype, device=device)

    def vector(width: int) -> Tensor:
        return torch.empty(width, dtype=dtype, device=device)

    return _made(shape, tied, matrix, vector)


def _made(
    shape: ModelShape,
    tied: bool,
    matrix: Callable[[int, int], Tensor],
    norm: Callable[[int], Tensor],
) -> ModelWeights:
    """Weights of a shape: each `matrix` by its (out, in), each `norm` by its width."""
    hidden, inter, qkv = shape.hidden_size, shape.intermediate_size, shape.q_dim + 2 * shape.kv_dim
    layers = [
        LayerWeights(
            attention_norm=norm(hidden),
            qkv=matrix(qkv, hidden),
            qkv_bias=matrix(1, qkv)[0] if shape.attention_bias else None,
            o=matrix(hidden, shape.q_dim),
            mlp_norm=norm(hidden),
            gate_up=matrix(2 * inter, hidden),
            down=matrix(hidden, inter),
        )
        for _ in range(shape.num_hidden_layers)
    ]
    embedding = matrix(shape.vocab_size, hidden)
    head = embedding if tied else matrix(shape.vocab_size, hidden)
    return ModelWeights(embedding, layers, norm(hidden), head)


def checkpoint_views(shape: ModelShape, weights: ModelWeights) -> dict[str, Tensor]:
    """Each tensor of a Hugging Face checkpoint by its name there, as the part of the fused weights
    that it fills. A tied head is no tensor of its own."""
    views = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.norm}
    if weights.head is not weights.embedding:
        views["lm_head.weight"] = weights.head
    widths = [shape.q_dim, shape.kv_dim, shape.kv_dim]
    projections = ("q_proj", "k_proj", "v_proj")
    for number, layer in enumerate(weights.layers):
        prefix = f"model.layers.{number}."
        views[f"{prefix}input_layernorm.weight"] = layer.attention_norm
        for name, part in zip(projections, layer.qkv.split(widths), strict=True):
            views[f"{prefix}self_attn.{name}.weight"] = part
        if layer.qkv_bias is not None:
            for name, part in zip(projections, layer.qkv_bias.split(widths), strict=True):
                views[f"{prefix}self_attn.{name}.bias"] = part
        views[f"{prefix}self_attn.o_proj.weight"] = layer.o
        views[f"{prefix}post_attention_layernorm.weight"] = layer.mlp_norm
        gate, up = layer.gate_up.chunk(2)
        views[f"{prefix}mlp.gate_proj.weight"] = gate
        views[f"{prefix}mlp.up_proj.weight"] = up
        views[f"{prefix}mlp.down_proj.weight"] = layer.down
    return views
