"""Which sizes are measured, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import torch

from kernels.shapes import ModelShape


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes, in tokens but for `adapters` and `ranks`."""

    slots: int  # adapters that could be resident, as an engine's tables have them
    adapters: tuple[int, ...]  # distinct ones in a step
    ranks: tuple[int, ...]
    mixed_ranks: tuple[int, ...]  # of adapters in turn
    decode_tokens: tuple[int, ...]
    step_tokens: int  # of the decode step whose LoRA is measured whole, and compared with torch
    prefill_tokens: tuple[int, ...]
    prefill_adapters: tuple[int, ...]
    contexts: tuple[int, ...]  # of decode
    chunk_tokens: int
    chunk_starts: tuple[int, ...]
    elementwise_tokens: tuple[int, ...]

    @property
    def step_rank(self) -> int:
        """Rank of the adapters in that decode step."""
        return self.ranks[0]


FULL = Plan(
    slots=64,
    adapters=(1, 8, 32, 64),
    ranks=(16, 64),
    mixed_ranks=(8, 16, 32, 64, 128),
    decode_tokens=(32, 64, 128, 256),
    step_tokens=64,
    prefill_tokens=(512, 2048, 8192),
    prefill_adapters=(1, 8),
    contexts=(128, 512, 2048, 8192),
    chunk_tokens=2048,
    chunk_starts=(0, 8192),
    elementwise_tokens=(64, 2048, 8192),
)
QUICK = Plan(
    slots=4,
    adapters=(1, 4),
    ranks=(4, 8),
    mixed_ranks=(2, 4, 8),
    decode_tokens=(8,),
    step_tokens=8,
    prefill_tokens=(160,),  # more than 32 a slot, which makes it a batch of prefill
    prefill_adapters=(1, 2),
    contexts=(32, 100),
    chunk_tokens=32,
    chunk_starts=(0, 50),
    elementwise_tokens=(8,),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all cases share: the model, the kernels measured, where and on which numbers."""

    shape: ModelShape
    ops: ModuleType  # kernels.triton_ops, or kernels.torch_ops
    device: torch.device
    dtype: torch.dtype
    plan: Plan

    @property
    def element_bytes(self) -> int:
        """Bytes of an activation or a weight."""
        return self.dtype.itemsize

    def normal(self, *size: int) -> torch.Tensor:
        """Normally distributed numbers, [size]."""
        return torch.randn(size, device=self.device, dtype=self.dtype)
