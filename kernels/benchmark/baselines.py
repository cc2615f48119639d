"""What torch has to offer for the same results, at its best: weights side by side in memory, and
everything about the batch that can be known beforehand known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.benchmark.case import Run

Stack = tuple[Tensor, Tensor, Tensor]  # A [adapters, rank, in], B^T [.., rank, out], scale [..]


def gather_bmm(x: Tensor, y: Tensor, stacks: Sequence[Stack], slots: Tensor) -> Run:
    """LoRA by gathering every token's own A and B, then two batched products."""
    slots = slots.long()
    columns = y.split([b.shape[2] for _, b, _ in stacks], dim=1)

    def run() -> None:
        for (a, b, scale), out in zip(stacks, columns, strict=True):
            factors = torch.bmm(a[slots], x[:, :, None])  # [tokens, rank, 1]
            factors *= scale[slots, None, None]
            out += torch.bmm(factors.transpose(1, 2), b[slots])[:, 0]

    return run


def adapter_loop(x: Tensor, y: Tensor, stacks: Sequence[Stack], slots: Tensor) -> Run:
    """LoRA by a loop over adapters: select its tokens, two products, add to its tokens."""
    adapters = len(stacks[0][0])
    tokens = [(slots == slot).nonzero()[:, 0] for slot in range(adapters)]
    columns = y.split([b.shape[2] for _, b, _ in stacks], dim=1)
    scales = [scale.tolist() for _, _, scale in stacks]

    def run() -> None:
        for slot, own in enumerate(tokens):
            rows = x[own]
            for (a, b, _), out, scale in zip(stacks, columns, scales, strict=True):
                added = torch.mm(torch.mm(rows, a[slot].T), b[slot])
                out.index_add_(0, own, added, alpha=scale[slot])

    return run


def sdpa_decode(q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> Run:
    """Attention of one query a sequence, q and out [sequences, heads, head_dim], over K and V
    [sequences, kv_heads, context, head_dim] that have been gathered from their pages before."""
    # The query heads that share a KV head are as good as queries of that one head.
    queries = q.view(len(q), k.shape[1], -1, q.shape[2])

    def run() -> None:
        out.view_as(queries).copy_(F.scaled_dot_product_attention(queries, k, v))

    return run
