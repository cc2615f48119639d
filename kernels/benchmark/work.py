"""What a call cannot do without: bytes that have to be read or written, FLOPs, launches.

Every operand counts once, however often a kernel reads it, and nothing that a kernel keeps for
itself counts, such as LoRA's partial sums or the parts of a split context. So the bytes over the
device's bandwidth are a floor for any implementation, as long as operands lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.shapes import GROUPS, ModelShape


@dataclass(frozen=True, slots=True)
class Work:
    """Of one call, or of several that follow each other."""

    bytes: int
    flops: int
    launches: int

    def __add__(self, other: Work) -> Work:
        return Work(
            self.bytes + other.bytes, self.flops + other.flops, self.launches + other.launches
        )


def lora_work(
    shape: ModelShape, group: str, ranks: Sequence[int], tokens: Sequence[int], element_bytes: int
) -> Work:
    """Shrink and expand of a group, for distinct adapters of `ranks` with so many `tokens` each.

    A and B of each adapter and x are read, y is read and written. 2 FLOPs a token and parameter.
    """
    widths = [shape.linear_shapes[module] for module in GROUPS[group]]
    parameters = sum(inner + outer for inner, outer in widths)  # of rank 1
    activations = sum(tokens) * (widths[0][0] + 2 * sum(outer for _, outer in widths))
    flops = 2 * parameters * sum(rank * own for rank, own in zip(ranks, tokens, strict=True))
    return Work(element_bytes * (sum(ranks) * parameters + activations), flops, launches=2)


def lora_step_work(
    shape: ModelShape, ranks: Sequence[int], tokens: Sequence[int], element_bytes: int
) -> Work:
    """All that LoRA adds to a step: all groups of all layers, and `prepare_lora`, two launches
    whose few bytes are left out."""
    work = Work(0, 0, launches=2)
    for group in GROUPS:
        one = lora_work(shape, group, ranks, tokens, element_bytes)
        layers = shape.num_hidden_layers
        work += Work(one.bytes * layers, one.flops * layers, one.launches * layers)
    return work


def attention_work(
    shape: ModelShape, contexts: Sequence[int], queries: Sequence[int], element_bytes: int
) -> Work:
    """Causal attention of each sequence's last `queries` tokens over its `contexts`: q and out, and
    each K and V once. 4 FLOPs a query, token attended and element of q."""
    moved = 2 * sum(contexts) * shape.kv_dim + 2 * sum(queries) * shape.q_dim
    pairs = sum(
        chunk * (context - chunk) + chunk * (chunk + 1) // 2
        for context, chunk in zip(contexts, queries, strict=True)
    )
    return Work(element_bytes * moved, 4 * pairs * shape.q_dim, launches=1)


def rms_norm_work(tokens: int, hidden: int, element_bytes: int) -> Work:
    """With a residual: x in, residual in and out, the norm out, the weight once."""
    return Work(element_bytes * (4 * tokens + 1) * hidden, 5 * tokens * hidden, launches=1)


def silu_mul_work(tokens: int, inter: int, element_bytes: int) -> Work:
    """Gate and up in, their product out."""
    return Work(element_bytes * 3 * tokens * inter, 5 * tokens * inter, launches=1)


def rotary_work(tokens: int, shape: ModelShape, element_bytes: int) -> Work:
    """q, K and V in, q back, K and V to pages, a row of float32 cosines and sines a token."""
    elements = 2 * (shape.q_dim + 2 * shape.kv_dim)
    flops = 3 * tokens * (shape.q_dim + shape.kv_dim)
    return Work(tokens * (element_bytes * elements + 4 * shape.head_dim), flops, launches=1)
