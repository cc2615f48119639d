"""A kernel that does nothing: what launches cost by themselves."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _empty(nothing: tl.tensor) -> None:
    pass


def launch_empty(nothing: torch.Tensor) -> None:
    """One program; `nothing`, which says on which device, is neither read nor written."""
    _empty[(1,)](nothing)
