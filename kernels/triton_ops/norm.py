"""RMSNorm, with the addition to the residual stream that comes before it in the same pass.

One program a token keeps its whole row in registers, so that every row is read once: x (and the
residual) in, out (and the new residual) back. Sums are float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.compile import CompileCase


@triton.jit
def _rms_norm(
    x: tl.tensor,
    weight: tl.tensor,
    out: tl.tensor,
    residual: tl.tensor,
    eps: tl.tensor,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ADD: tl.constexpr,
) -> None:
    columns = tl.arange(0, BLOCK)
    inside = columns < WIDTH
    offsets = tl.program_id(0).to(tl.int64) * WIDTH + columns
    row = tl.load(x + offsets, inside, other=0.0).to(tl.float32)
    if ADD:
        row += tl.load(residual + offsets, inside, other=0.0).to(tl.float32)
        # What is normed is what later layers read: the sum as it is stored.
        stored = row.to(residual.dtype.element_ty)
        tl.store(residual + offsets, stored, inside)
        row = stored.to(tl.float32)
    inverse = tl.rsqrt(tl.sum(row * row) / WIDTH + eps)
    scaled = row * inverse * tl.load(weight + columns, inside, other=0.0).to(tl.float32)
    tl.store(out + offsets, scaled, inside)


def rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    out: torch.Tensor,
    residual: torch.Tensor | None = None,
) -> None:
    """out = x / sqrt(mean(x^2) + eps) * weight, each row [hidden] of x for itself; out may be x.

    With `residual`, x is added to it in place first and the sum, rounded to its dtype, is normed.
    All are contiguous.
    """
    assert x.is_contiguous()
    assert out.is_contiguous()
    assert residual is None or residual.is_contiguous()
    tokens, width = x.shape
    _rms_norm[(tokens,)](
        x, weight, out, x if residual is None else residual, eps,
        WIDTH=width, BLOCK=triton.next_power_of_2(width), ADD=residual is not None,
        num_warps=_warps(width),
    )  # fmt: skip


def _warps(width: int) -> int:
    """As many as give each thread 16 bytes at a time and at most 32 elements altogether."""
    return min(max(triton.next_power_of_2(width) // 512, 1), 16)


def compile_cases() -> list[CompileCase]:
    """Every configuration and dtype, and odd sizes."""
    return [
        CompileCase(
            _rms_norm,
            {
                "x": f"*{dtype}",
                "weight": f"*{dtype}",
                "out": f"*{dtype}",
                "residual": f"*{dtype}",
                "eps": "fp32",
            },
            {"WIDTH": width, "BLOCK": triton.next_power_of_2(width), "ADD": add},
            num_warps=_warps(width),
        )
        for dtype, width in (
            ("bf16", 176),
            ("bf16", 4096),
            ("bf16", 5120),
            ("bf16", 16384),
            ("fp16", 4096),
            ("fp32", 176),
        )
        for add in (False, True)
    ]
