"""Rotary positions, RMSNorm and the gated activation in plain torch, in float32 whatever the dtype.

`Tensor.float` makes no copy of float32, so the arithmetic below is in place there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def rotary_kv_write(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    cos_sin: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    kv_slot: torch.Tensor,
) -> None:
    """Rotates q in place and writes rotated K, and V, of new tokens into their pages.

    `qkv` [tokens, q_dim + 2 kv_dim] holds q, K, V; K and V in it are left as they are. `positions`
    [tokens] are rows of `cos_sin` [max_positions, head_dim] float32 (see kernels.rope). `kv_slot`
    [tokens] int64 is block * block_tokens + offset, or -1 for a token whose K and V nobody keeps.
    """
    tokens, kv_dim, head_dim = len(qkv), pages.shape[1], cos_sin.shape[1]
    block_tokens = block_pages.shape[3]
    q_dim = qkv.shape[1] - 2 * kv_dim
    heads = qkv[:, : q_dim + kv_dim].view(tokens, -1, head_dim).float()
    low, high = heads.chunk(2, dim=2)
    cos, sin = cos_sin[positions].unsqueeze(1).chunk(2, dim=2)
    rotated = torch.cat([low * cos - high * sin, high * cos + low * sin], dim=2)
    rotated = rotated.view(tokens, q_dim + kv_dim)
    qkv[:, :q_dim] = rotated[:, :q_dim]

    kept = (kv_slot >= 0).nonzero().squeeze(1)
    slots = kv_slot[kept]
    kv_pages = block_pages[slots // block_tokens, layer, :, slots % block_tokens]
    pages.index_copy_(0, kv_pages[:, 0].long(), rotated[kept, q_dim:].to(pages.dtype))
    pages.index_copy_(0, kv_pages[:, 1].long(), qkv[kept, q_dim + kv_dim :])


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    out: torch.Tensor,
    residual: torch.Tensor | None = None,
) -> None:
    """out = x / sqrt(mean(x^2) + eps) * weight, each row [hidden] of x for itself; out may be x.

    With `residual`, x is added to it in place first and the sum, rounded to its dtype, is normed.
    """
    if residual is not None:
        x = residual.add_(x)
    x = x.float()
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    torch.mul(x, torch.rsqrt(length.square() / x.shape[1] + eps) * weight.float(), out=out)


def silu_mul(gate_up: torch.Tensor, out: torch.Tensor) -> None:
    """out [tokens, inter] = silu(gate) * up, of rows that hold gate, then up."""
    gate, up = gate_up.chunk(2, dim=1)
    torch.mul(F.silu(gate.float()), up, out=out)
