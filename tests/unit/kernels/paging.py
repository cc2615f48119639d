"""Paged K and V to test with: pages in no order, blocks in no order, and NaN wherever nobody looks.

A kernel that reads a page, a block or a token that is not its sequence's own gives NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import pytest
import torch

from kernels import torch_ops, triton_ops

BACKENDS = [pytest.param(triton_ops, id="triton"), pytest.param(torch_ops, id="torch")]

Backend = ModuleType

# Triton's interpreter computes bfloat16 wrongly and says nothing.
DTYPES = [torch.float32, torch.float16]
if torch.cuda.is_available():
    DTYPES.append(torch.bfloat16)

# Of the largest element. In the short types an output is off by half a unit in its last place, and
# so are the softmax weights that the tensor cores take.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """`expected` is in float64; NaN is close to nothing."""
    error = (actual.cpu().double() - expected.cpu()).abs().max()
    assert error <= TOLERANCE[actual.dtype] * expected.abs().max()


@dataclass
class PagedKv:
    pages: torch.Tensor
    block_pages: torch.Tensor
    block_table: torch.Tensor
    layer: int

    @classmethod
    def random(
        cls,
        context_lens: list[int],
        kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        rng: torch.Generator,
        block_tokens: int = 16,
        layers: int = 3,
        spare_blocks: int = 2,
    ) -> PagedKv:
        """K and V of sequences in one middle layer.

        The table has `spare_blocks` more columns than needed. What it says beyond a sequence's last
        block is no block at all: whoever looks it up leaves the tensor.
        """
        layer = layers // 2
        used = [-(-context // block_tokens) for context in context_lens]
        blocks = sum(used) + 1  # the last one is nobody's
        num_pages = blocks * layers * 2 * block_tokens + 7
        ids = torch.randperm(num_pages, generator=rng)[: blocks * layers * 2 * block_tokens]
        block_pages = ids.view(blocks, layers, 2, block_tokens).int()
        pages = torch.full((num_pages, kv_heads * head_dim), float("nan"), dtype=dtype)
        order = iter(torch.randperm(blocks - 1, generator=rng).tolist())
        block_table = torch.full((len(used), max(used) + spare_blocks), 10**7).int()
        for s, (context, count) in enumerate(zip(context_lens, used, strict=True)):
            for i in range(count):
                block = block_table[s, i] = next(order)
                tokens = min(block_tokens, context - i * block_tokens)
                mine = block_pages[block, layer, :, :tokens].flatten()
                pages[mine] = torch.randn(len(mine), pages.shape[1], generator=rng).to(dtype)
        return cls(pages, block_pages, block_table, layer)

    def to(self, device: torch.device) -> PagedKv:
        return PagedKv(
            self.pages.to(device),
            self.block_pages.to(device),
            self.block_table.to(device),
            self.layer,
        )
