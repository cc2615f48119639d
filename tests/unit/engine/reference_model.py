"""The decoder as its formulas say, in float64: the whole sequence at once, head by head.

No pages, no batch, no cache, no fused weights, nothing shared with the kernels but the shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kernels.lora_stream import LoraModule
from kernels.shapes import ModelShape
from simlora.engine.weights import LayerWeights, ModelWeights

Adapter = Mapping[tuple[int, str], LoraModule]


def reference_logits(
    shape: ModelShape, weights: ModelWeights, tokens: Sequence[int], adapter: Adapter
) -> Tensor:
    """What the model says after each of the tokens, [tokens, vocabulary] float64.

    `adapter` may be empty: the base model.
    """
    hidden = torch.stack([weights.embedding[token].double() for token in tokens])
    for number, layer in enumerate(weights.layers):
        matrices = _matrices(shape, layer)

        def linear(x: Tensor, name: str, layer: int = number, of: dict = matrices) -> Tensor:
            matrix, bias = of[name]
            y = x @ matrix.T + bias
            module = adapter.get((layer, name))
            if module is not None:
                y = y + module.scale * (x @ module.a.double().T @ module.b.double().T)
            return y

        x = _rms_norm(hidden, layer.attention_norm, shape.rms_norm_eps)
        q, k, v = (linear(x, f"{name}_proj") for name in "qkv")
        hidden = hidden + linear(_attention(shape, q, k, v), "o_proj")
        x = _rms_norm(hidden, layer.mlp_norm, shape.rms_norm_eps)
        gate = linear(x, "gate_proj")
        silu = gate / (1 + torch.exp(-gate))
        hidden = hidden + linear(silu * linear(x, "up_proj"), "down_proj")
    return _rms_norm(hidden, weights.norm, shape.rms_norm_eps) @ weights.head.double().T


def greedy(
    shape: ModelShape,
    weights: ModelWeights,
    prompt: Sequence[int],
    count: int,
    adapter: Adapter,
) -> tuple[list[int], Tensor]:
    """The `count` tokens that follow the prompt, each the likeliest, and the logits [count,
    vocabulary] that they were chosen from. Computes everything again for each token."""
    tokens, said = list(prompt), []
    for _ in range(count):
        said.append(reference_logits(shape, weights, tokens, adapter)[-1])
        tokens.append(int(said[-1].argmax()))
    return tokens[len(prompt) :], torch.stack(said)


def _matrices(shape: ModelShape, layer: LayerWeights) -> dict[str, tuple[Tensor, Tensor | float]]:
    """[out, in] and bias of each module."""
    q, kv, inter = shape.q_dim, shape.kv_dim, shape.intermediate_size
    rows = {"q_proj": (0, q), "k_proj": (q, q + kv), "v_proj": (q + kv, q + 2 * kv)}
    found: dict[str, tuple[Tensor, Tensor | float]] = {}
    for name, (start, end) in rows.items():
        bias = 0.0 if layer.qkv_bias is None else layer.qkv_bias[start:end].double()
        found[name] = layer.qkv[start:end].double(), bias
    found["o_proj"] = layer.o.double(), 0.0
    found["gate_proj"] = layer.gate_up[:inter].double(), 0.0
    found["up_proj"] = layer.gate_up[inter:].double(), 0.0
    found["down_proj"] = layer.down.double(), 0.0
    return found


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(dim=1, keepdim=True) + eps) * weight.double()


def _attention(shape: ModelShape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of all positions, [tokens, q_dim]."""
    width = shape.head_dim
    shared_by = shape.num_attention_heads // shape.num_key_value_heads
    outputs = []
    for head in range(shape.num_attention_heads):
        own = slice(head * width, (head + 1) * width)
        shared = slice(head // shared_by * width, (head // shared_by + 1) * width)
        scores = _rotated(shape, q[:, own]) @ _rotated(shape, k[:, shared]).T / math.sqrt(width)
        later = torch.ones_like(scores, dtype=torch.bool).triu(1)
        outputs.append(scores.masked_fill(later, -math.inf).softmax(dim=1) @ v[:, shared])
    return torch.cat(outputs, dim=1)


def _rotated(shape: ModelShape, head: Tensor) -> Tensor:
    """One head's rows, each turned by its position: pair i is elements i and i + head_dim / 2."""
    assert shape.rope_scaling is None, "not here: the truth about it is transformers'"
    half = shape.head_dim // 2
    position = torch.arange(len(head), dtype=torch.float64)[:, None]
    pair = torch.arange(half, dtype=torch.float64)
    angle = position * shape.rope_theta ** (-2 * pair / shape.head_dim)
    low, high = head[:, :half], head[:, half:]
    return torch.cat(
        [low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()], dim=1
    )
