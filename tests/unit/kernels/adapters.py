"""Adapters of random ranks in a pool whose other pages are poison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.lora_batch import LoraBatch
from kernels.lora_stream import LoraModule
from kernels.reference.lora import apply_lora
from kernels.shapes import GROUPS, MODULES, ModelShape
from kernels.tables import AdapterTables

# Widths that are no powers of two: pieces of 16 elements, and of 64.
ODD = ModelShape(48, 176, 2, 3, 1, 16, 100)
WIDE = ModelShape(192, 320, 2, 2, 2, 64, 100)

Adapter = dict[tuple[int, str], LoraModule]


@dataclass
class Pool:
    """Pages of the adapters, shuffled among as many of somebody else's, which are NaN."""

    pages: Tensor
    tables: AdapterTables
    adapters: list[Adapter]
    shape: ModelShape

    def group(self, layer: int, group: str) -> list[list[LoraModule | None]]:
        return [[each.get((layer, module)) for module in GROUPS[group]] for each in self.adapters]


def random_adapter(
    shape: ModelShape, ranks: Sequence[int], generator: torch.Generator, dtype: torch.dtype
) -> Adapter:
    """Ranks of all modules of all layers, in turn; 0 leaves a module out. Values are `dtype`'s."""

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(dtype).float()

    adapter = {}
    modules = [(layer, m) for layer in range(shape.num_hidden_layers) for m in MODULES]
    for (layer, module), rank in zip(modules, ranks, strict=True):
        inner, outer = shape.linear_shapes[module]
        if rank:
            scale = float(torch.rand((), generator=generator)) + 0.5
            a, b = normal(rank, inner), normal(outer, rank)
            adapter[layer, module] = LoraModule(a, b, scale)
    return adapter


def make_pool(
    shape: ModelShape,
    adapters: list[Adapter],
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
) -> Pool:
    """Write the adapters' streams into pages by hand, element by element of the definition."""
    streams, kv_dim = [], shape.kv_dim
    tables = AdapterTables.empty(max(len(adapters), 1), 1, shape, torch.device("cpu"))
    for slot, adapter in enumerate(adapters):
        parts, length = [torch.empty(0)], 0
        for layer in range(shape.num_hidden_layers):
            for index, name in enumerate(MODULES):
                module = adapter.get((layer, name))
                tables.base[slot, layer, index] = length
                if module is not None:
                    tables.rank[slot, layer, index] = module.a.shape[0]
                    tables.scale[slot, layer, index] = module.scale
                    parts += [module.a.flatten(), module.b.T.flatten()]
                    length += parts[-2].numel() + parts[-1].numel()
        stream = torch.zeros(-(-length // kv_dim), kv_dim)
        stream.view(-1)[:length] = torch.cat(parts)
        streams.append(stream)

    used = sum(len(stream) for stream in streams)
    where = torch.randperm(2 * used + 2, generator=generator)[:used].to(torch.int32)
    pages = torch.full((2 * used + 2, kv_dim), float("nan"))
    tables.page = torch.full(
        (len(tables.base), max((len(stream) for stream in streams), default=0) + 1), 2**30
    ).to(torch.int32)
    for slot, (stream, own) in enumerate(
        zip(streams, where.split([len(stream) for stream in streams]), strict=True)
    ):
        pages[own.long()] = stream
        tables.page[slot, : len(own)] = own
    on_device = AdapterTables(
        page=tables.page.to(device),
        base=tables.base.to(device),
        rank=tables.rank.to(device),
        scale=tables.scale.to(device),
    )
    return Pool(pages.to(device, dtype), on_device, adapters, shape)


def new_batch(tokens: int, pool: Pool, max_rank: int) -> LoraBatch:
    """A batch whose buffers hold garbage: what is not written first must not be read."""
    slots = len(pool.tables.base)
    batch = LoraBatch(tokens, slots, max_rank, pool.shape, pool.pages.device)
    batch.partial.fill_(float("nan"))
    for buffer in (batch.order, batch.run_offset, batch.run_left, batch.run_slot):
        buffer.fill_(2**30)
    for buffer in (batch.tile_slot, batch.tile_start, batch.tile_rows):
        buffer.fill_(2**30)
    return batch


def lora_error(
    ops: object,
    pool: Pool,
    slot_of_token: Sequence[int],
    layer: int,
    group: str,
    max_rank: int,
    generator: torch.Generator,
    spare_tokens: int = 0,
) -> float:
    """max |y - expected| / max |expected| of one step through `ops`, the reference's being float64.

    The batch is made for `spare_tokens` more tokens than there are.
    """
    dtype, device = pool.pages.dtype, pool.pages.device
    batch = new_batch(len(slot_of_token) + spare_tokens, pool, max_rank)
    cut = batch.cuts[group]
    x = torch.randn(len(slot_of_token), cut.inner, generator=generator).to(device, dtype)
    y = torch.randn(len(slot_of_token), sum(cut.outer), generator=generator).to(device, dtype)
    expected = apply_lora(x, y, cut.outer, pool.group(layer, group), slot_of_token)
    run_lora(ops, x, y, pool, batch, slot_of_token, layer, group)
    return float((y.double().cpu() - expected).abs().max() / expected.abs().max())


def run_lora(
    ops: object,
    x: Tensor,
    y: Tensor,
    pool: Pool,
    batch: LoraBatch,
    slot_of_token: Sequence[int],
    layer: int,
    group: str,
) -> None:
    slots = torch.tensor(slot_of_token, dtype=torch.int32, device=x.device)
    ops.prepare_lora(slots, batch)  # type: ignore[attr-defined]
    ops.shrink(x, pool.pages, pool.tables, batch, layer, group)  # type: ignore[attr-defined]
    ops.expand(y, pool.pages, pool.tables, batch, layer, group)  # type: ignore[attr-defined]
