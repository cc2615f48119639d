"""Rotary positions of new queries and keys, and the writing of keys and values to their pages.

One launch a layer: a program takes HEAD_TILE of a token's heads, of q, K and V alike. It turns the
first two by the token's position; q goes back where it was, K and V go straight to the pool, so
that nothing is read or written twice.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.compile import CompileCase

# More heads a program would leave most of the GPU idle in a decode step of a few dozen tokens.
HEAD_TILE = 8


def _tile_sizes(head_dim: int) -> dict[str, int]:
    """As many warps as give each thread 8 elements (16 bytes) of either half of a head."""
    half_block = triton.next_power_of_2(head_dim // 2)
    return {
        "HEAD_DIM": head_dim,
        "HEAD_TILE": HEAD_TILE,
        "HALF_BLOCK": half_block,
        "num_warps": max(1, HEAD_TILE * half_block // 256),
    }


@triton.jit(do_not_specialize=["layer"])
def _rotary_kv_write(
    qkv: tl.tensor,
    positions: tl.tensor,
    cos_sin: tl.tensor,
    pages: tl.tensor,
    block_pages: tl.tensor,
    kv_slot: tl.tensor,
    layer: tl.tensor,
    layers: tl.tensor,
    qkv_stride: tl.tensor,
    BLOCK_TOKENS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_TILE: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
) -> None:
    HALF: tl.constexpr = HEAD_DIM // 2
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEAD_TILE + tl.arange(0, HEAD_TILE)
    is_q = head < HEADS
    is_v = head >= HEADS + KV_HEADS
    pair = tl.arange(0, HALF_BLOCK)
    in_head = (pair < HALF)[None, :]

    # Both halves of a head are in registers before either is overwritten.
    source = qkv + token * qkv_stride + head[:, None] * HEAD_DIM + pair[None, :]
    inside = (head < HEADS + 2 * KV_HEADS)[:, None] & in_head
    low = tl.load(source, inside, other=0.0).to(tl.float32)
    high = tl.load(source + HALF, inside, other=0.0).to(tl.float32)
    angle = cos_sin + tl.load(positions + token).to(tl.int64) * HEAD_DIM + pair[None, :]
    cos = tl.load(angle, in_head, other=0.0)
    sin = tl.load(angle + HALF, in_head, other=0.0)
    low_out = tl.where(is_v[:, None], low, low * cos - high * sin)
    high_out = tl.where(is_v[:, None], high, high * cos + low * sin)

    mask = is_q[:, None] & in_head
    tl.store(source, low_out, mask)
    tl.store(source + HALF, high_out, mask)

    slot = tl.load(kv_slot + token)
    kept = (slot >= 0) & (head >= HEADS)
    kind = tl.where(is_v, 1, 0)
    entry = ((slot // BLOCK_TOKENS * layers + layer) * 2 + kind) * BLOCK_TOKENS
    page = tl.load(block_pages + entry + slot % BLOCK_TOKENS, kept, other=0).to(tl.int64)
    kv_head = head - HEADS - kind * KV_HEADS
    target = pages + (page * KV_HEADS + kv_head)[:, None] * HEAD_DIM + pair[None, :]
    mask = kept[:, None] & inside
    tl.store(target, low_out, mask)
    tl.store(target + HALF, high_out, mask)


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
    head_dim = cos_sin.shape[1]
    kv_heads = pages.shape[1] // head_dim
    heads = qkv.shape[1] // head_dim - 2 * kv_heads
    _rotary_kv_write[(len(qkv), triton.cdiv(heads + 2 * kv_heads, HEAD_TILE))](
        qkv, positions, cos_sin, pages, block_pages, kv_slot,
        layer, block_pages.shape[1], qkv.stride(0),
        BLOCK_TOKENS=block_pages.shape[3], HEADS=heads, KV_HEADS=kv_heads, **_tile_sizes(head_dim),
    )  # fmt: skip


def compile_cases() -> list[CompileCase]:
    """Every configuration and dtype, and odd sizes."""
    cases = []
    for dtype, heads, kv_heads, head_dim in (
        ("bf16", 32, 8, 128),
        ("bf16", 28, 4, 128),
        ("bf16", 16, 1, 80),
        ("bf16", 8, 2, 64),
        ("fp16", 32, 8, 128),
        ("fp32", 8, 2, 64),
    ):
        signature = {
            "qkv": f"*{dtype}",
            "positions": "*i32",
            "cos_sin": "*fp32",
            "pages": f"*{dtype}",
            "block_pages": "*i32",
            "kv_slot": "*i64",
            "layer": "i32",
            "layers": "i32",
            "qkv_stride": "i32:16",
        }
        sizes = _tile_sizes(head_dim)
        num_warps = sizes.pop("num_warps")
        constexprs = {"BLOCK_TOKENS": 16, "HEADS": heads, "KV_HEADS": kv_heads, **sizes}
        cases.append(CompileCase(_rotary_kv_write, signature, constexprs, num_warps))
    return cases
