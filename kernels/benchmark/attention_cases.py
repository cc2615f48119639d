"""Attention over paged K and V: decode against bandwidth, prefill against arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels import torch_ops
from kernels.benchmark.baselines import sdpa_decode
from kernels.benchmark.case import Case, Prepared
from kernels.benchmark.plan import Setting
from kernels.benchmark.work import attention_work
from kernels.torch_ops.attention import gather_kv

DECODE, PREFILL, SDPA = "paged_decode", "paged_prefill", "sdpa"
BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class PagedKv:
    """K and V of sequences of one length, in one layer; blocks and pages in no order."""

    pages: Tensor
    block_pages: Tensor  # [blocks, 1, 2, BLOCK_TOKENS] int32
    block_table: Tensor  # [sequences, blocks of each] int32

    @classmethod
    def random(cls, setting: Setting, sequences: int, context: int) -> PagedKv:
        """Normally distributed."""
        blocks = sequences * -(-context // BLOCK_TOKENS)
        pages = 2 * BLOCK_TOKENS * blocks
        ids = torch.randperm(pages, device=setting.device, dtype=torch.int32)
        order = torch.randperm(blocks, device=setting.device, dtype=torch.int32)
        return cls(
            setting.normal(pages, setting.shape.kv_dim),
            ids.view(blocks, 1, 2, BLOCK_TOKENS),
            order.view(sequences, -1),
        )


def decode_cases(setting: Setting) -> Iterator[Case]:
    """One query a sequence; torch's attention beside it, over K and V that it finds gathered."""
    for context in setting.plan.contexts:
        yield _decode(setting, setting.plan.step_tokens, context)


def prefill_cases(setting: Setting) -> Iterator[Case]:
    """A chunk of one sequence."""
    for start in setting.plan.chunk_starts:
        yield _prefill(setting, setting.plan.chunk_tokens, start)


def _decode(setting: Setting, sequences: int, context: int) -> Case:
    shape, ops, device = setting.shape, setting.ops, setting.device

    def prepare() -> Prepared:
        kv = PagedKv.random(setting, sequences, context)
        q = setting.normal(sequences, shape.num_attention_heads, shape.head_dim)
        out = torch.full_like(q, torch.nan)
        lengths = torch.full((sequences,), context, dtype=torch.int32, device=device)
        blocks = kv.block_table.shape[1]
        workspace = ops.decode_workspace(sequences, shape, blocks, BLOCK_TOKENS, device)
        operands = (q, kv.pages, kv.block_pages, 0, kv.block_table, lengths, out, workspace)
        exists = torch.ones(sequences, context, dtype=torch.bool, device=device)
        k, v = gather_kv(kv.pages, kv.block_pages, 0, kv.block_table, exists, shape.head_dim)
        return Prepared(
            lambda: ops.paged_decode(*operands),
            lambda: torch_ops.paged_decode(*operands),
            [out],
            {SDPA: sdpa_decode(q, k.contiguous(), v.contiguous(), out)},
        )

    work = attention_work(shape, [context] * sequences, [1] * sequences, setting.element_bytes)
    return Case(DECODE, "", work, prepare, sequences, context=context)


def _prefill(setting: Setting, chunk: int, start: int) -> Case:
    shape, ops, device = setting.shape, setting.ops, setting.device
    context = start + chunk

    def prepare() -> Prepared:
        kv = PagedKv.random(setting, 1, context)
        q = setting.normal(chunk, shape.num_attention_heads, shape.head_dim)
        out = torch.full_like(q, torch.nan)
        lengths = torch.tensor([context], dtype=torch.int32, device=device)
        bounds = torch.tensor([0, chunk], dtype=torch.int32, device=device)
        operands = (
            q, kv.pages, kv.block_pages, 0, kv.block_table, lengths, bounds, chunk, out
        )  # fmt: skip
        return Prepared(
            lambda: ops.paged_prefill(*operands),
            lambda: torch_ops.paged_prefill(*operands),
            [out],
        )

    work = attention_work(shape, [context], [chunk], setting.element_bytes)
    return Case(PREFILL, "", work, prepare, chunk, context=context)
