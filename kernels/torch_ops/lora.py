"""Batched LoRA in plain torch: same functions, buffers and results as kernels.triton_ops.

Every tile's matrices are gathered from the pool, filled up to the largest rank, and multiplied in
one batched product. That copies the weights of each tile, tiles without rows included, because
shapes may depend neither on the tokens nor on the ranks; it is meant for CPUs and small models.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.lora_batch import LoraBatch
from kernels.tables import AdapterTables


def prepare_lora(slot_of_token: Tensor, batch: LoraBatch) -> None:
    """Sort the step's tokens by slot and cut them into tiles.

    `slot_of_token` is [tokens] int32, -1 for tokens without adapter and for padding. Raises
    ValueError if there are more tokens than the batch was made for.
    """
    tokens = len(slot_of_token)
    if tokens > batch.max_tokens:
        raise ValueError(f"{tokens} tokens, but the batch was made for {batch.max_tokens}")
    key = torch.where(slot_of_token < 0, torch.iinfo(torch.int32).max, slot_of_token)
    ordered, order = torch.sort(key, stable=True)
    batch.order[:tokens] = order
    # Where the run of equal slots begins and ends that each place belongs to.
    place = torch.arange(tokens, device=order.device)
    first = torch.searchsorted(ordered, ordered)
    after = torch.searchsorted(ordered, ordered, right=True)
    begins = (slot_of_token[order] >= 0) & ((place - first) % batch.block_m == 0)
    # Places at which no tile begins write to one more tile than there is.
    tile = torch.where(begins, torch.cumsum(begins, 0) - 1, batch.tiles)
    for target, values in (
        (batch.tile_slot, ordered),
        (batch.tile_start, place),
        (batch.tile_rows, (after - place).clamp(max=batch.block_m)),
    ):
        padded = target.new_zeros(batch.tiles + 1)
        target.copy_(padded.scatter_(0, tile, values.to(torch.int32))[: batch.tiles])


def shrink(
    x: Tensor, pages: Tensor, tables: AdapterTables, batch: LoraBatch, layer: int, group: str
) -> None:
    """batch.planes(group) <- x A^T for the modules of a group, by adapter; all in plane 0.

    x is [tokens, in], for the tokens that `prepare_lora` sorted. No adapter's rank in this layer
    may exceed `batch.max_rank`.
    """
    cut, tiles = batch.cuts[group], _tiles(batch)
    planes = batch.planes(group)
    planes.zero_()
    rows = torch.where(tiles.inside[..., None], x[tiles.token].float(), 0.0)
    for i in range(len(cut.outer)):
        entry = tiles.slot, layer, cut.first + i
        known = _known(batch, tiles, tables.rank[entry])
        a = _gather(pages, tables, batch, tiles, tables.base[entry], cut.inner, known)
        column = i * batch.rank_columns
        # Each token is in one tile; rows that a tile lacks are zero and add nothing to place 0.
        planes[0, :, column : column + batch.max_rank].index_add_(
            0, tiles.place.flatten(), (rows @ a.mT).flatten(0, 1)
        )


def expand(
    y: Tensor, pages: Tensor, tables: AdapterTables, batch: LoraBatch, layer: int, group: str
) -> None:
    """y[t] += scale * (partial[t] B^T) for the modules of a group, by adapter.

    y is [tokens, sum of the modules' widths]. Tokens without adapter are left as they are.
    """
    cut, tiles = batch.cuts[group], _tiles(batch)
    partial = batch.planes(group).sum(0)[tiles.place]  # [tiles, block_m, columns]
    total = torch.zeros(y.shape, dtype=torch.float32, device=y.device)
    for i, columns in enumerate(total.split(cut.outer, dim=1)):
        entry = tiles.slot, layer, cut.first + i
        rank = tables.rank[entry]
        known = _known(batch, tiles, rank)
        start = tables.base[entry] + rank * cut.inner  # B^T follows A
        b = _gather(pages, tables, batch, tiles, start, cut.outer[i], known)
        column = i * batch.rank_columns
        factors = partial[:, :, column : column + batch.max_rank]
        factors = torch.where(tiles.inside[..., None] & known[:, None, :], factors, 0.0)
        products = tables.scale[entry][:, None, None] * (factors @ b)
        columns.index_add_(
            0,
            tiles.token.flatten(),
            torch.where(tiles.inside[..., None], products, 0.0).flatten(0, 1),
        )
    y.copy_(y.float() + total)


@dataclass(frozen=True, slots=True)
class _Tiles:
    """The batch's tiles; 0 stands for what a tile lacks, be it rows or everything."""

    slot: Tensor  # [tiles]
    inside: Tensor  # [tiles, block_m] bool: which rows it has
    place: Tensor  # [tiles, block_m]: of each row in `order`
    token: Tensor  # [tiles, block_m]


def _tiles(batch: LoraBatch) -> _Tiles:
    row = torch.arange(batch.block_m, device=batch.order.device)
    inside = row < batch.tile_rows[:, None]
    place = (batch.tile_start[:, None] + row).where(inside, 0)
    token = batch.order[place].where(inside, 0)
    return _Tiles(batch.tile_slot.where(batch.tile_rows > 0, 0), inside, place, token)


def _known(batch: LoraBatch, tiles: _Tiles, rank: Tensor) -> Tensor:
    """Which of `max_rank` ranks each tile's adapter has: [tiles, max_rank]."""
    ranks = torch.arange(batch.max_rank, device=rank.device)
    return tiles.inside[:, :1] & (ranks < rank[:, None])


def _gather(
    pages: Tensor,
    tables: AdapterTables,
    batch: LoraBatch,
    tiles: _Tiles,
    start: Tensor,
    width: int,
    known: Tensor,
) -> Tensor:
    """Rows of `width` elements from stream offset `start` [tiles] on: float32 [tiles, max_rank,
    width], zeros where not known."""
    ranks = torch.arange(batch.max_rank, device=pages.device)[:, None]
    pieces = torch.arange(0, width, batch.chunk, device=pages.device)
    offset = (start[:, None, None] + ranks * width + pieces).where(known[..., None], 0)
    kv_dim = pages.shape[1]
    page = tables.page[tiles.slot[:, None, None], offset // kv_dim].where(known[..., None], 0)
    whole = pages.view(-1, kv_dim // batch.chunk, batch.chunk)
    rows = whole[page, offset % kv_dim // batch.chunk].flatten(2).float()
    return torch.where(known[..., None], rows, 0.0)
