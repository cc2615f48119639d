"""Adapters of given ranks with random weights, for timing and for tests."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from kernels.lora_stream import LoraModule
from kernels.shapes import MODULES, ModelShape


def random_adapter(
    shape: ModelShape, rank: int, *, modules: Iterable[str] = MODULES, seed: int = 0
) -> dict[tuple[int, str], LoraModule]:
    """float32 matrices in host memory, by layer and module. Whatever its rank, an adapter adds a
    fifth of what random weights give: it changes what a model says without drowning it."""
    generator = torch.Generator().manual_seed(seed)
    widths = shape.linear_shapes

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.empty(rows, columns).normal_(0.0, columns**-0.5, generator=generator)

    return {
        (layer, module): LoraModule(
            matrix(rank, widths[module][0]), 0.1 * matrix(widths[module][1], rank), 2.0
        )
        for layer in range(shape.num_hidden_layers)
        for module in modules
    }
