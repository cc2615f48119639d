"""Attention of decode steps: one query a sequence over its paged K and V.

Bound by memory: 2 * context * kv_dim elements a sequence, each of which is read once, because one
program takes all query heads of a KV head; they are the rows of its products (at least 16, as
tensor cores have it, which costs nothing here). Long contexts of few sequences are split over
programs so that there are enough of them to draw the full bandwidth; a second launch puts the
parts together. The number of splits depends on shapes alone, so that a CUDA graph holds it.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from kernels.compile import CompileCase
from kernels.shapes import ModelShape
from kernels.triton_ops.paged_kv import COMPILED, attend_tile, look_up

# Two programs on each of the 132 SMs of an H100 or H200: each keeps two tiles of K and V (64 KiB)
# on their way, more than the 25 KiB an SM that 4.8 TB/s times 0.7 us of latency ask for.
WANTED_PROGRAMS = 2 * 132
# A split shorter than this costs more to put together than it gains.
MIN_SPLIT_TOKENS = 256
NUM_WARPS = 4
NUM_STAGES = 3


def _splits(sequences: int, kv_heads: int, max_tokens: int) -> int:
    """Programs that share a sequence and KV head: a power of two."""
    splits = 1
    while (
        splits * sequences * kv_heads < WANTED_PROGRAMS
        and 2 * splits * MIN_SPLIT_TOKENS <= max_tokens
    ):
        splits *= 2
    return splits


def _tile_sizes(group: int, head_dim: int, element_bytes: int) -> dict[str, int]:
    """Rows are the query heads of a KV head; a tile of tokens has 16 KiB of K."""
    head_block = max(16, triton.next_power_of_2(head_dim))
    return {
        "HEAD_DIM": head_dim,
        "HEAD_BLOCK": head_block,
        "BLOCK_M": max(16, triton.next_power_of_2(group)),
        "BLOCK_N": max(16, min(128, 16384 // (head_block * element_bytes))),
    }


@triton.jit
def _split_tokens(context: tl.tensor, BLOCK_N: tl.constexpr, SPLITS: tl.constexpr) -> tl.tensor:
    """Tokens a split: whole tiles, as evenly as they go; the last splits may be left without."""
    return tl.cdiv(tl.cdiv(context, BLOCK_N), SPLITS) * BLOCK_N


@triton.jit(do_not_specialize=["layer"])
def _decode(
    q: tl.tensor,
    pages: tl.tensor,
    block_pages: tl.tensor,
    block_table: tl.tensor,
    context_lens: tl.tensor,
    out: tl.tensor,
    partial: tl.tensor,
    partial_lse: tl.tensor,
    scale: tl.tensor,
    layer: tl.tensor,
    layers: tl.tensor,
    max_blocks: tl.tensor,
    q_stride: tl.tensor,
    BLOCK_TOKENS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLITS: tl.constexpr,
) -> None:
    sequence = tl.program_id(0)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    context = tl.load(context_lens + sequence)
    split_tokens = _split_tokens(context, BLOCK_N, SPLITS)
    first = split * split_tokens
    end = tl.minimum(first + split_tokens, context)

    row = tl.arange(0, BLOCK_M)
    head = kv_head * GROUP + row
    dims = tl.arange(0, HEAD_BLOCK)
    inside = (row < GROUP)[:, None] & (dims < HEAD_DIM)[None, :]
    in_heads = head[:, None] * HEAD_DIM + dims[None, :]
    queries = tl.load(q + sequence.to(tl.int64) * q_stride + in_heads, inside, other=0.0)

    acc = tl.zeros([BLOCK_M, HEAD_BLOCK], tl.float32)
    peak = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    last = tl.full([BLOCK_M], 0, tl.int32) + (end - 1)
    layer_pages = block_pages + layer * 2 * BLOCK_TOKENS
    block_stride = layers * 2 * BLOCK_TOKENS
    table = block_table + sequence.to(tl.int64) * max_blocks
    k_ids, v_ids = look_up(layer_pages, block_stride, table, first, end, BLOCK_N, BLOCK_TOKENS)
    for start in range(first, end, BLOCK_N):
        k_next, v_next = look_up(
            layer_pages, block_stride, table, start + BLOCK_N, end, BLOCK_N, BLOCK_TOKENS
        )
        acc, peak, total = attend_tile(
            queries, last, acc, peak, total, k_ids, v_ids, start, end, pages, kv_head, scale,
            True, BLOCK_N, KV_HEADS * HEAD_DIM, HEAD_DIM, HEAD_BLOCK,
        )  # fmt: skip
        k_ids, v_ids = k_next, v_next

    total = tl.where(total > 0, total, 1.0)  # a context of 0 gives 0
    attended = acc / total[:, None]
    heads = KV_HEADS * GROUP
    if SPLITS == 1:
        tl.store(out + sequence.to(tl.int64) * heads * HEAD_DIM + in_heads, attended, inside)
    else:
        part = (sequence.to(tl.int64) * heads + head) * SPLITS + split
        written = (row < GROUP) & (first < end)
        tl.store(
            partial + part[:, None] * HEAD_DIM + dims[None, :], attended, inside & written[:, None]
        )
        tl.store(partial_lse + part, peak + tl.log2(total), written)


@triton.jit
def _combine(
    context_lens: tl.tensor,
    partial: tl.tensor,
    partial_lse: tl.tensor,
    out: tl.tensor,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SPLITS: tl.constexpr,
) -> None:
    sequence = tl.program_id(0)
    row = sequence.to(tl.int64) * HEADS + tl.program_id(1)
    context = tl.load(context_lens + sequence)
    split = tl.arange(0, SPLITS)
    dims = tl.arange(0, HEAD_BLOCK)
    # Splits without tokens have written nothing.
    written = split * _split_tokens(context, BLOCK_N, SPLITS) < context
    inside = written[:, None] & (dims < HEAD_DIM)[None, :]
    lse = tl.load(partial_lse + row * SPLITS + split, written, other=float("-inf"))
    parts = tl.load(
        partial + (row * SPLITS + split)[:, None] * HEAD_DIM + dims[None, :], inside, other=0.0
    )
    peak = tl.max(lse, 0)
    weights = tl.where(written, tl.exp2(lse - peak), 0.0)
    attended = tl.sum(parts * weights[:, None], 0) / tl.maximum(tl.sum(weights, 0), 1.0)
    tl.store(out + row * HEAD_DIM + dims, attended, dims < HEAD_DIM)


def decode_workspace(
    max_sequences: int, shape: ModelShape, max_blocks: int, block_tokens: int, device: torch.device
) -> torch.Tensor:
    """Room for the parts of split contexts, of any number of sequences up to `max_sequences`."""
    rows = max(
        sequences * splits
        for sequences in range(1, max_sequences + 1)
        if (splits := _splits(sequences, shape.num_key_value_heads, max_blocks * block_tokens)) > 1
        or sequences == 1
    )
    elements = rows * shape.num_attention_heads * (shape.head_dim + 1)
    return torch.empty(elements, dtype=torch.float32, device=device)


def paged_decode(
    q: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    out: torch.Tensor,
    workspace: torch.Tensor,
) -> None:
    """One query a sequence: q and out [sequences, heads, head_dim].

    `context_lens` counts the tokens attended, the query's own among them, whose K and V lie in
    pages already; where it is 0 (padding), zeros are written. `block_table` [sequences, max_blocks]
    indexes `block_pages` [blocks, layers, 2, block_tokens]. q may be a part of wider rows, the rest
    is contiguous. `workspace` is of `decode_workspace`.
    """
    sequences, heads, head_dim = q.shape
    kv_heads = pages.shape[1] // head_dim
    max_blocks, block_tokens = block_table.shape[1], block_pages.shape[3]
    assert q.stride()[1:] == (head_dim, 1)
    assert out.is_contiguous()
    splits = _splits(sequences, kv_heads, max_blocks * block_tokens)
    parts = sequences * heads * splits if splits > 1 else 0
    assert workspace.numel() >= parts * (head_dim + 1)
    partial, partial_lse = workspace, workspace[parts * head_dim :]

    sizes = _tile_sizes(heads // kv_heads, head_dim, q.element_size())
    _decode[(sequences, kv_heads, splits)](
        q, pages, block_pages, block_table, context_lens, out, partial, partial_lse,
        math.log2(math.e) / math.sqrt(head_dim),
        layer, block_pages.shape[1], max_blocks, q.stride(0),
        BLOCK_TOKENS=block_tokens, KV_HEADS=kv_heads, GROUP=heads // kv_heads, SPLITS=splits,
        **sizes, num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip
    if splits > 1:
        _combine[(sequences, heads)](
            context_lens, partial, partial_lse, out,
            HEADS=heads, HEAD_DIM=head_dim, HEAD_BLOCK=sizes["HEAD_BLOCK"],
            BLOCK_N=sizes["BLOCK_N"], SPLITS=splits,
        )  # fmt: skip


def compile_cases() -> list[CompileCase]:
    """Every configuration and dtype, and odd sizes."""
    cases = []
    for dtype, element_bytes, group, head_dim in COMPILED:
        sizes = _tile_sizes(group, head_dim, element_bytes)
        for splits in (1, 16):
            signature = {
                "q": f"*{dtype}",
                "pages": f"*{dtype}",
                "block_pages": "*i32",
                "block_table": "*i32",
                "context_lens": "*i32",
                "out": f"*{dtype}",
                "partial": "*fp32",
                "partial_lse": "*fp32",
                "scale": "fp32",
                "layer": "i32",
                "layers": "i32",
                "max_blocks": "i32:16",
                "q_stride": "i32:16",
            }
            constexprs = {
                "BLOCK_TOKENS": 16,
                "KV_HEADS": 8,
                "GROUP": group,
                "SPLITS": splits,
                **sizes,
            }
            cases.append(CompileCase(_decode, signature, constexprs, NUM_WARPS, NUM_STAGES))
        signature = {
            "context_lens": "*i32",
            "partial": "*fp32",
            "partial_lse": "*fp32",
            "out": f"*{dtype}",
        }
        constexprs = {
            "HEADS": 8 * group,
            "HEAD_DIM": head_dim,
            "HEAD_BLOCK": sizes["HEAD_BLOCK"],
            "BLOCK_N": sizes["BLOCK_N"],
            "SPLITS": 16,
        }
        cases.append(CompileCase(_combine, signature, constexprs))
    return cases
