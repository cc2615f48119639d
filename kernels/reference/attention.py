"""Attention over paged K and V and the writing of them, token by token in float64 on the CPU."""

from __future__ import annotations

import torch


def page_of(
    block_pages: torch.Tensor, block_table_row: torch.Tensor, layer: int, kv: int, token: int
) -> int:
    """Pool page that holds K (`kv` 0) or V (1) of a sequence's `token`."""
    block_tokens = block_pages.shape[3]
    block = int(block_table_row[token // block_tokens])
    return int(block_pages[block, layer, kv, token % block_tokens])


def attend_one(
    q: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    block_table_row: torch.Tensor,
    tokens: int,
) -> torch.Tensor:
    """One query [heads, head_dim] over the first `tokens` tokens of its sequence, in float64."""
    heads, head_dim = q.shape
    kv_heads = pages.shape[1] // head_dim
    k, v = (
        torch.stack(
            [
                pages[page_of(block_pages, block_table_row, layer, kv, token)].double()
                for token in range(tokens)
            ]
        ).view(tokens, kv_heads, head_dim)
        for kv in (0, 1)
    )
    out = torch.empty(heads, head_dim, dtype=torch.float64)
    for head in range(heads):
        kv_head = head // (heads // kv_heads)
        scores = k[:, kv_head] @ q[head].double() / head_dim**0.5
        out[head] = torch.softmax(scores, dim=0) @ v[:, kv_head]
    return out


def paged_decode(
    q: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
) -> torch.Tensor:
    """One query a sequence; [sequences, heads, head_dim] float64, zeros where the context is 0."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    for s, context in enumerate(context_lens.tolist()):
        if context:
            out[s] = attend_one(q[s], pages, block_pages, layer, block_table[s], context)
    return out


def paged_prefill(
    q: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    query_start: torch.Tensor,
) -> torch.Tensor:
    """A chunk of queries a sequence, each attending up to itself; like q, in float64."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    for s, context in enumerate(context_lens.tolist()):
        first, end = int(query_start[s]), int(query_start[s + 1])
        for row in range(first, end):
            attended = context - (end - 1 - row)
            out[row] = attend_one(q[row], pages, block_pages, layer, block_table[s], attended)
    return out


def rotate(x: torch.Tensor, position: int, cos_sin: torch.Tensor) -> torch.Tensor:
    """A head's vector [head_dim], turned as its position says, in float64."""
    half = x.shape[0] // 2
    out = torch.empty_like(x, dtype=torch.float64)
    for i in range(half):
        cos, sin = cos_sin[position, i].double(), cos_sin[position, half + i].double()
        low, high = x[i].double(), x[half + i].double()
        out[i] = low * cos - high * sin
        out[half + i] = high * cos + low * sin
    return out


def rotary_kv_write(
    qkv: torch.Tensor,
    positions: torch.Tensor,
    cos_sin: torch.Tensor,
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    kv_slot: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`qkv` with q rotated, and `pages` with K and V written, both in float64."""
    kv_dim, head_dim = pages.shape[1], cos_sin.shape[1]
    block_tokens = block_pages.shape[3]
    q_dim = qkv.shape[1] - 2 * kv_dim
    qkv_out, pages_out = qkv.double(), pages.double()
    for row, (position, slot) in enumerate(zip(positions.tolist(), kv_slot.tolist(), strict=True)):
        rotated = [
            rotate(head, position, cos_sin) for head in qkv[row, : q_dim + kv_dim].split(head_dim)
        ]
        q_heads = q_dim // head_dim
        qkv_out[row, :q_dim] = torch.cat(rotated[:q_heads])
        if slot >= 0:
            k_page, v_page = block_pages[slot // block_tokens, layer, :, slot % block_tokens]
            pages_out[k_page] = torch.cat(rotated[q_heads:])
            pages_out[v_page] = qkv[row, q_dim + kv_dim :].double()
    return qkv_out, pages_out
