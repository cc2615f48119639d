"""The gated MLP's activation: silu(gate) * up, from the [tokens, 2 inter] that one product gives.

Memory bound: each element is read once and written once, 8 elements (16 bytes) a thread.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.compile import CompileCase

BLOCK = 1024


@triton.jit
def _silu_mul(gate_up: tl.tensor, out: tl.tensor, inter: tl.tensor, BLOCK: tl.constexpr) -> None:
    # Tokens times width may exceed 2^31.
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < inter
    gate = tl.load(gate_up + row * 2 * inter + columns, inside).to(tl.float32)
    up = tl.load(gate_up + row * 2 * inter + inter + columns, inside).to(tl.float32)
    tl.store(out + row * inter + columns, gate * tl.sigmoid(gate) * up, inside)


def silu_mul(gate_up: torch.Tensor, out: torch.Tensor) -> None:
    """out [tokens, inter] = silu(gate) * up, of rows that hold gate, then up; both contiguous."""
    assert gate_up.is_contiguous()
    assert out.is_contiguous()
    tokens, inter = out.shape
    _silu_mul[(tokens, triton.cdiv(inter, BLOCK))](gate_up, out, inter, BLOCK=BLOCK)


def compile_cases() -> list[CompileCase]:
    """Every configuration and dtype, and odd sizes."""
    return [
        CompileCase(
            _silu_mul,
            {"gate_up": f"*{dtype}", "out": f"*{dtype}", "inter": "i32:16"},
            {"BLOCK": BLOCK},
        )
        for dtype in ("bf16", "fp16", "fp32")
    ]
