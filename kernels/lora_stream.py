"""Packing an adapter's matrices into the flat stream of elements that its pages hold.

The stream holds, layer by layer and within a layer in the order of MODULES, A [rank, in] and then
B transposed [rank, out], both row-major. B is transposed so that both of a module's matrices are
rows of one rank each: a kernel reads them alike, and a module of rank r is what r adapters of rank
1 would be. A module without an adapter takes nothing, and ranks may differ from module to module.

The stream is cut into pages of `kv_dim` elements, the last one filled up with zeros. Offsets are
counted in elements, and matrices begin where the one before ends, also in the middle of a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kernels.shapes import MODULES, ModelShape


@dataclass(frozen=True, slots=True)
class LoraModule:
    """What an adapter adds to one linear module: y += scale * B (A x)."""

    a: Tensor  # [rank, in]
    b: Tensor  # [out, rank]
    scale: float  # alpha / rank, or alpha / sqrt(rank) for rank-stabilized LoRA


@dataclass(frozen=True, slots=True)
class PackedAdapter:
    """An adapter in host memory, ready to be copied page by page. Pinned where there is a GPU."""

    pages: Tensor  # [pages, kv_dim]
    base: Tensor  # [layers, 7] int64: element at which the module's A begins
    rank: Tensor  # [layers, 7] int32
    scale: Tensor  # [layers, 7] float32


def stream_layout(shape: ModelShape, rank: NDArray[np.integer]) -> tuple[NDArray[np.int64], int]:
    """Where each module's A begins in the stream, [layers, 7] elements, and the stream's length.

    `rank` is [layers, 7].
    """
    widths = np.array([sum(io) for io in shape.linear_shapes.values()], dtype=np.int64)
    sizes = (rank * widths).ravel()
    ends = np.cumsum(sizes)
    return (ends - sizes).reshape(rank.shape), int(ends[-1])


def stream_pages(shape: ModelShape, rank: NDArray[np.integer]) -> int:
    """Pages that an adapter with these ranks [layers, 7] takes."""
    _, elements = stream_layout(shape, rank)
    return -(-elements // shape.kv_dim)


def pack_adapter(
    shape: ModelShape, weights: Mapping[tuple[int, str], LoraModule], dtype: torch.dtype
) -> PackedAdapter:
    """Pack the adapted modules, by (layer, name), as elements of `dtype`, the pool's.

    Raises ValueError for a module that the model lacks and for matrices that do not fit it.
    """
    layers = shape.num_hidden_layers
    pinned = torch.cuda.is_available()  # only pinned memory is copied beside a running step
    rank = torch.zeros(layers, len(MODULES), dtype=torch.int32, pin_memory=pinned)
    scale = torch.zeros(layers, len(MODULES), dtype=torch.float32, pin_memory=pinned)
    base = torch.empty(layers, len(MODULES), dtype=torch.int64, pin_memory=pinned)
    for (layer, name), module in weights.items():
        _check_module(shape, layer, name, module)
        at = layer, MODULES.index(name)
        rank[at] = module.a.shape[0]
        scale[at] = module.scale
    offsets, elements = stream_layout(shape, rank.numpy())
    base.copy_(torch.from_numpy(offsets))

    count = stream_pages(shape, rank.numpy())
    pages = torch.empty(count, shape.kv_dim, dtype=dtype, pin_memory=pinned)
    stream = pages.view(-1)
    for (layer, name), module in weights.items():
        start = int(offsets[layer, MODULES.index(name)])
        for matrix in (module.a, module.b.T):
            stream[start : start + matrix.numel()].view(matrix.shape).copy_(matrix)
            start += matrix.numel()
    stream[elements:].zero_()
    return PackedAdapter(pages, base, rank, scale)


def _check_module(shape: ModelShape, layer: int, name: str, module: LoraModule) -> None:
    """Raises ValueError unless the model has the module and the matrices fit it and each other."""
    if name not in MODULES:
        raise ValueError(f"no module {name!r}: an adapter may have {', '.join(MODULES)}")
    layers = shape.num_hidden_layers
    if not 0 <= layer < layers:
        raise ValueError(f"no layer {layer}: the model has layers 0 to {layers - 1}")
    inner, outer = shape.linear_shapes[name]
    a, b = tuple(module.a.shape), tuple(module.b.shape)
    if len(a) != 2 or a[1] != inner or b != (outer, a[0]):
        raise ValueError(
            f"layer {layer}, {name}: A {list(a)} and B {list(b)} are not "
            f"[rank, {inner}] and [{outer}, rank]"
        )
