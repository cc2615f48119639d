"""Attention of prefill chunks: causal, over paged K and V of which the chunk is the last part.

Bound by arithmetic, so a program fills the tensor cores' BLOCK_M rows with queries times the query
heads of one KV head: BLOCK_M // GROUP tokens of GROUP heads each, all of which read the same K and
V. Tiles that every row attends in full take no mask. A sequence's last tiles, which have the
most to do, start first, and the tiles of a sequence and KV head run side by side and share K and V
in the L2 cache.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from kernels.compile import CompileCase
from kernels.triton_ops.paged_kv import COMPILED, attend_tile, look_up

NUM_WARPS = 8
NUM_STAGES = 3


def _tile_sizes(group: int, head_dim: int, element_bytes: int) -> dict[str, int]:
    """Rows and tokens of a program's tiles.

    16-bit: the accumulator (BLOCK_M * HEAD_BLOCK float32 over 8 warps) takes at most 128 registers
    a thread, Q and three tiles of K and V at most 160 KiB of a multiprocessor's 227. float32 has no
    tensor cores to fill, takes twice the room, and so gets smaller tiles.
    """
    head_block = max(16, triton.next_power_of_2(head_dim))
    rows = 128 if element_bytes == 2 else 32
    tokens = max(32, min(128, 8192 // head_block)) if element_bytes == 2 else 32
    return {
        "HEAD_DIM": head_dim,
        "HEAD_BLOCK": head_block,
        "BLOCK_M": max(rows, triton.next_power_of_2(group)),
        "BLOCK_N": tokens,
    }


@triton.jit(do_not_specialize=["layer"])
def _prefill(
    q: tl.tensor,
    pages: tl.tensor,
    block_pages: tl.tensor,
    block_table: tl.tensor,
    context_lens: tl.tensor,
    query_start: tl.tensor,
    out: tl.tensor,
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
) -> None:
    TILE_QUERIES: tl.constexpr = BLOCK_M // GROUP
    kv_head = tl.program_id(1)
    sequence = tl.program_id(2)
    first_query = tl.load(query_start + sequence)
    queries = tl.load(query_start + sequence + 1) - first_query
    tile_start = (tl.cdiv(queries, TILE_QUERIES) - 1 - tl.program_id(0)) * TILE_QUERIES
    if tile_start < 0:
        return

    row = tl.arange(0, BLOCK_M)
    query = tile_start + row // GROUP
    is_query = (row < TILE_QUERIES * GROUP) & (query < queries)
    dims = tl.arange(0, HEAD_BLOCK)
    inside = is_query[:, None] & (dims < HEAD_DIM)[None, :]
    token = (first_query + query).to(tl.int64)
    in_heads = (kv_head * GROUP + row % GROUP)[:, None] * HEAD_DIM + dims[None, :]
    q_tile = tl.load(q + token[:, None] * q_stride + in_heads, inside, other=0.0)

    before = tl.load(context_lens + sequence) - queries  # tokens before the chunk
    last = before + query
    end = before + tl.minimum(tile_start + TILE_QUERIES, queries)
    # Rows of the tile attend before + tile_start + 1 tokens or more.
    unmasked = (before + tile_start + 1) // BLOCK_N * BLOCK_N
    acc = tl.zeros([BLOCK_M, HEAD_BLOCK], tl.float32)
    peak = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    layer_pages = block_pages + layer * 2 * BLOCK_TOKENS
    block_stride = layers * 2 * BLOCK_TOKENS
    table = block_table + sequence.to(tl.int64) * max_blocks
    k_ids, v_ids = look_up(layer_pages, block_stride, table, 0, end, BLOCK_N, BLOCK_TOKENS)
    for masked in tl.static_range(2):
        for start in range(unmasked if masked else 0, end if masked else unmasked, BLOCK_N):
            k_next, v_next = look_up(
                layer_pages, block_stride, table, start + BLOCK_N, end, BLOCK_N, BLOCK_TOKENS
            )
            acc, peak, total = attend_tile(
                q_tile, last, acc, peak, total, k_ids, v_ids, start, end, pages, kv_head, scale,
                masked, BLOCK_N, KV_HEADS * HEAD_DIM, HEAD_DIM, HEAD_BLOCK,
            )  # fmt: skip
            k_ids, v_ids = k_next, v_next

    out_row = out + token[:, None] * (KV_HEADS * GROUP * HEAD_DIM)
    tl.store(out_row + in_heads, acc / total[:, None], inside)


def paged_prefill(
    q: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    query_start: torch.Tensor,
    max_query_len: int,
    out: torch.Tensor,
) -> None:
    """A chunk of queries a sequence, causal: q and out [tokens, heads, head_dim].

    Sequence s has rows query_start[s]..query_start[s + 1], at most `max_query_len`; the last of
    them attends context_lens[s] tokens, itself among them, and each one before it one token less.
    `block_table` [sequences, max_blocks] indexes `block_pages` [blocks, layers, 2, block_tokens].
    q may be a part of wider rows, the rest is contiguous.
    """
    _, heads, head_dim = q.shape
    kv_heads = pages.shape[1] // head_dim
    sequences, max_blocks = block_table.shape
    assert q.stride()[1:] == (head_dim, 1)
    assert out.is_contiguous()
    sizes = _tile_sizes(heads // kv_heads, head_dim, q.element_size())
    tiles = triton.cdiv(max_query_len, sizes["BLOCK_M"] // (heads // kv_heads))
    _prefill[(tiles, kv_heads, sequences)](
        q, pages, block_pages, block_table, context_lens, query_start, out,
        math.log2(math.e) / math.sqrt(head_dim),
        layer, block_pages.shape[1], max_blocks, q.stride(0),
        BLOCK_TOKENS=block_pages.shape[3], KV_HEADS=kv_heads, GROUP=heads // kv_heads,
        **sizes, num_warps=NUM_WARPS, num_stages=NUM_STAGES,
    )  # fmt: skip


def compile_cases() -> list[CompileCase]:
    """Every configuration and dtype, and odd sizes."""
    cases = []
    for dtype, element_bytes, group, head_dim in COMPILED:
        signature = {
            "q": f"*{dtype}",
            "pages": f"*{dtype}",
            "block_pages": "*i32",
            "block_table": "*i32",
            "context_lens": "*i32",
            "query_start": "*i32",
            "out": f"*{dtype}",
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
            **_tile_sizes(group, head_dim, element_bytes),
        }
        cases.append(CompileCase(_prefill, signature, constexprs, NUM_WARPS, NUM_STAGES))
    return cases
