"""Attention over paged K and V in plain torch: gather pages, then torch's own attention.

For CPUs, where copies cost much and a call on small tensors costs more than what it computes: in
decode, sequences of similar length are gathered and attended together; in prefill each sequence is
a product large enough by itself. torch's fused attention accumulates in float32 whatever the dtype.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.shapes import ModelShape


def decode_workspace(
    max_sequences: int, shape: ModelShape, max_blocks: int, block_tokens: int, device: torch.device
) -> torch.Tensor:
    """Nothing: here contexts are not split, so that there are no partial results to keep."""
    return torch.empty(0, device=device)


def gather_kv(
    pages: torch.Tensor,
    block_pages: torch.Tensor,
    layer: int,
    block_table: torch.Tensor,
    exists: torch.Tensor,
    head_dim: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """K and V of sequences' first n tokens, each [sequences, kv_heads, n, head_dim].

    `exists` [sequences, n] says which are there; of the others nothing is read, and the sequence's
    first token stands in for them.
    """
    sequences, n = exists.shape
    block_tokens = block_pages.shape[3]
    blocks = block_table[:, : -(-n // block_tokens)]
    blocks = torch.where(exists[:, ::block_tokens], blocks, blocks[:, :1])
    ids = block_pages[blocks, layer].permute(2, 0, 1, 3).reshape(2, sequences, -1)[:, :, :n]
    ids = torch.where(exists, ids, ids[:, :, :1])
    rows = pages.index_select(0, ids.flatten()).view(2, sequences, n, -1, head_dim)
    k, v = rows.transpose(2, 3)
    return k, v


def similar_lengths(lengths: list[int]) -> list[list[int]]:
    """Indices, longest first, in groups without any shorter than 3/4 of its group's longest."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if groups and 4 * lengths[i] >= 3 * lengths[groups[-1][0]]:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


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
    indexes `block_pages` [blocks, layers, 2, block_tokens]. `workspace` is of `decode_workspace`.
    """
    head_dim = q.shape[2]
    lengths = context_lens.tolist()
    for group in similar_lengths(lengths):
        rows = torch.tensor(group, device=q.device)
        longest, shortest = lengths[group[0]], lengths[group[-1]]
        if longest == 0:
            out[rows] = 0
            continue
        exists = torch.arange(longest, device=q.device) < context_lens[rows, None]
        k, v = gather_kv(pages, block_pages, layer, block_table[rows], exists, head_dim)
        mask = exists[:, None, None] if shortest < longest else None
        # The query heads that share a KV head are as good as queries of that one head.
        queries = q[rows].view(len(group), k.shape[1], -1, head_dim)
        attended = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask)
        out[rows] = attended.reshape(len(group), -1, head_dim)


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
    """
    heads, head_dim = q.shape[1:]
    bounds = query_start.tolist()
    for s, context in enumerate(context_lens.tolist()):
        rows = slice(bounds[s], bounds[s + 1])
        queries = q[rows].transpose(0, 1)  # [heads, chunk, head_dim]
        chunk = queries.shape[1]
        if chunk == 0:
            continue
        exists = torch.ones(1, context, dtype=torch.bool, device=q.device)
        k, v = gather_kv(pages, block_pages, layer, block_table[s : s + 1], exists, head_dim)
        kv_heads = k.shape[1]
        # A chunk that is the whole context takes torch's causal mask, which skips what it hides.
        mask = None
        if chunk < context:
            mask = torch.ones(chunk, context, dtype=torch.bool, device=q.device)
            mask = mask.tril(context - chunk)
        attended = F.scaled_dot_product_attention(
            queries.reshape(kv_heads, -1, chunk, head_dim),
            k.transpose(0, 1).expand(-1, heads // kv_heads, -1, -1),
            v.transpose(0, 1).expand(-1, heads // kv_heads, -1, -1),
            attn_mask=mask,
            is_causal=mask is None,
        )
        out[rows] = attended.reshape(heads, chunk, head_dim).transpose(0, 1)
