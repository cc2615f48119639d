"""What is read once and written once: norms, activations, rotary positions."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from kernels import torch_ops
from kernels.benchmark.attention_cases import BLOCK_TOKENS, PagedKv
from kernels.benchmark.case import Case, Prepared
from kernels.benchmark.plan import Setting
from kernels.benchmark.work import rms_norm_work, rotary_work, silu_mul_work
from kernels.rope import rotary_table

KIND = "elementwise"


def elementwise_cases(setting: Setting) -> Iterator[Case]:
    """Each of them for each number of tokens."""
    for tokens in setting.plan.elementwise_tokens:
        yield _rms_norm(setting, tokens)
        yield _silu_mul(setting, tokens)
        yield _rotary_kv_write(setting, tokens)


def _rms_norm(setting: Setting, tokens: int) -> Case:
    hidden, eps = setting.shape.hidden_size, setting.shape.rms_norm_eps

    def prepare() -> Prepared:
        x, residual = (setting.normal(tokens, hidden) for _ in range(2))
        weight, out = setting.normal(hidden), torch.full_like(x, torch.nan)
        operands = (x, weight, eps, out, residual)
        return Prepared(
            lambda: setting.ops.rms_norm(*operands),
            lambda: torch_ops.rms_norm(*operands),
            [out, residual],
        )

    work = rms_norm_work(tokens, hidden, setting.element_bytes)
    return Case(KIND, "rms_norm", work, prepare, tokens)


def _silu_mul(setting: Setting, tokens: int) -> Case:
    inter = setting.shape.intermediate_size

    def prepare() -> Prepared:
        gate_up = setting.normal(tokens, 2 * inter)
        out = torch.full_like(gate_up[:, :inter], torch.nan, memory_format=torch.contiguous_format)
        return Prepared(
            lambda: setting.ops.silu_mul(gate_up, out),
            lambda: torch_ops.silu_mul(gate_up, out),
            [out],
        )

    work = silu_mul_work(tokens, inter, setting.element_bytes)
    return Case(KIND, "silu_mul", work, prepare, tokens)


def _rotary_kv_write(setting: Setting, tokens: int) -> Case:
    shape, device = setting.shape, setting.device

    def prepare() -> Prepared:
        kv = PagedKv.random(setting, 1, tokens)
        qkv = setting.normal(tokens, shape.q_dim + 2 * shape.kv_dim)
        positions = torch.arange(tokens, dtype=torch.int32, device=device)
        table = rotary_table(shape.head_dim, tokens, shape.rope_theta, None, device)
        blocks = kv.block_table[0, positions // BLOCK_TOKENS].long()
        kv_slot = blocks * BLOCK_TOKENS + positions % BLOCK_TOKENS
        operands = (qkv, positions, table, kv.pages, kv.block_pages, 0, kv_slot)
        return Prepared(
            lambda: setting.ops.rotary_kv_write(*operands),
            lambda: torch_ops.rotary_kv_write(*operands),
            [qkv, kv.pages],
        )

    work = rotary_work(tokens, shape, setting.element_bytes)
    return Case(KIND, "rotary_kv_write", work, prepare, tokens)
