"""One tile of attention over paged K and V, which decode and prefill share.

K and V of a token are two rows of the pool, anywhere. A tile of BLOCK_N tokens is looked up
through the block table (token -> block -> page) and gathered with one contiguous load of HEAD_DIM
elements a token and KV head; softmax is online, in float32 and powers of two.

Looking up is a step of its own, which callers take one tile ahead: were addresses loaded in the
iteration that uses them, Triton would spend its pipeline stages on the look-ups and keep a single
tile of K and V on its way, instead of num_stages - 1.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Dtype, bytes an element, query heads a KV head and head_dim that compile cases are made of.
COMPILED = [
    ("bf16", 2, 4, 128),
    ("bf16", 2, 7, 128),
    ("bf16", 2, 1, 80),
    ("bf16", 2, 8, 64),
    ("bf16", 2, 16, 256),
    ("fp16", 2, 4, 128),
    ("fp32", 4, 4, 64),
]


@triton.jit
def gather(
    pages: tl.tensor,
    page_ids: tl.tensor,
    kv_head: tl.tensor,
    mask: tl.tensor,
    KV_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
) -> tl.tensor:
    """One KV head of a row of pages: [BLOCK_N, HEAD_BLOCK]; zeros where masked."""
    dims = tl.arange(0, HEAD_BLOCK)
    # A pool may have more than 2^31 elements.
    rows = page_ids.to(tl.int64) * KV_DIM + kv_head * HEAD_DIM
    inside = mask[:, None] & (dims < HEAD_DIM)[None, :]
    return tl.load(pages + rows[:, None] + dims[None, :], inside, other=0.0)


@triton.jit
def look_up(
    layer_pages: tl.tensor,  # block_pages of one layer
    block_stride: tl.tensor,  # entries of block_pages a block
    block_table: tl.tensor,  # of the sequence
    start: tl.tensor,
    end: tl.tensor,
    BLOCK_N: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Pages of K and of V of the tile of tokens from `start`: [BLOCK_N] each; 0 from `end` on."""
    tokens = start + tl.arange(0, BLOCK_N)
    exists = tokens < end
    block = tl.load(block_table + tokens // BLOCK_TOKENS, exists, other=0)
    entry = layer_pages + block * block_stride + tokens % BLOCK_TOKENS
    k_ids = tl.load(entry, exists, other=0)
    v_ids = tl.load(entry + BLOCK_TOKENS, exists, other=0)
    return k_ids, v_ids


@triton.jit
def attend_tile(
    q: tl.tensor,  # [BLOCK_M, HEAD_BLOCK]
    last: tl.tensor,  # [BLOCK_M] int32: the last token that each row attends
    acc: tl.tensor,  # [BLOCK_M, HEAD_BLOCK] float32: sum of exp(score - peak) * V so far
    peak: tl.tensor,  # [BLOCK_M] float32: largest score so far, in powers of two
    total: tl.tensor,  # [BLOCK_M] float32: sum of exp(score - peak) so far
    k_ids: tl.tensor,
    v_ids: tl.tensor,
    start: tl.tensor,  # the tile's first token, of the `end` that any row attends
    end: tl.tensor,
    pages: tl.tensor,
    kv_head: tl.tensor,
    scale: tl.tensor,  # of scores, times log2(e)
    MASKED: tl.constexpr,  # False: every row attends the whole tile
    BLOCK_N: tl.constexpr,
    KV_DIM: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """acc, peak and total with one more tile."""
    tokens = start + tl.arange(0, BLOCK_N)
    exists = tokens < end if MASKED else tl.full([BLOCK_N], 1, tl.int1)
    k = gather(pages, k_ids, kv_head, exists, KV_DIM, HEAD_DIM, HEAD_BLOCK)
    v = gather(pages, v_ids, kv_head, exists, KV_DIM, HEAD_DIM, HEAD_BLOCK)

    # `ieee` is for float32, whose products would be rounded to TF32; other types know no other way.
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    if MASKED:
        scores = tl.where(tokens[None, :] <= last[:, None], scores, float("-inf"))
    new_peak = tl.maximum(peak, tl.max(scores, 1))
    weights = tl.exp2(scores - new_peak[:, None])
    decay = tl.exp2(peak - new_peak)
    acc = tl.dot(weights.to(v.dtype), v, acc * decay[:, None], input_precision="ieee")
    return acc, new_peak, total * decay + tl.sum(weights, 1)
