"""Batched LoRA in plain torch: same functions, buffers and results as kernels.triton_ops.

Tokens sorted by adapter, a product a run of one adapter's tokens. How many runs there are, and of
which ranks, is read on the host, so a step cannot be captured in a graph: this is for CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
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
    may exceed `batch.max_rank`; ValueError is raised, and nothing written, if one does.
    """
    cut, planes = batch.cuts[group], batch.planes(group)
    runs, modules = _runs(batch), slice(cut.first, cut.first + len(cut.outer))
    ranks = _host(tables.rank)[[run.slot for run in runs], layer, modules]
    if (highest := int(ranks.max(initial=0))) > batch.max_rank:
        raise ValueError(f"rank {highest}, but the batch was made for at most {batch.max_rank}")
    for run in runs:
        rows = x[batch.order[run.places]].float()
        for i in range(len(cut.outer)):
            entry = _entry(tables, run.slot, layer, cut.first + i)
            a = _matrix(pages, tables, run.slot, entry.base, entry.rank, cut.inner)
            column = i * batch.rank_columns
            columns = slice(column, column + entry.rank)
            planes[1:, run.places, columns] = 0.0
            planes[0, run.places, columns] = rows @ a.T


def expand(
    y: Tensor, pages: Tensor, tables: AdapterTables, batch: LoraBatch, layer: int, group: str
) -> None:
    """y[t] += scale * (partial[t] B^T) for the modules of a group, by adapter.

    y is [tokens, sum of the modules' widths]. Tokens without adapter are left as they are.
    """
    cut, planes = batch.cuts[group], batch.planes(group)
    for run in _runs(batch):
        tokens = batch.order[run.places]
        first = 0
        for i, width in enumerate(cut.outer):
            entry = _entry(tables, run.slot, layer, cut.first + i)
            if entry.rank:
                start = entry.base + entry.rank * cut.inner  # B^T follows A
                b = _matrix(pages, tables, run.slot, start, entry.rank, width)
                column = i * batch.rank_columns
                factors = planes[:, run.places, column : column + entry.rank].sum(0)
                own = y[tokens, first : first + width]
                y[tokens, first : first + width] = torch.addmm(
                    own.float(), factors, b, alpha=entry.scale
                ).to(y.dtype)
            first += width


@dataclass(frozen=True, slots=True)
class _Run:
    """Places in `order` of one adapter's tokens."""

    slot: int
    places: slice


def _runs(batch: LoraBatch) -> list[_Run]:
    """The batch's tiles, neighbours of one adapter put together."""
    runs: list[_Run] = []
    tiles = (_host(batch.tile_slot), _host(batch.tile_start), _host(batch.tile_rows))
    for slot, start, rows in zip(*(tile.tolist() for tile in tiles), strict=True):
        if rows == 0:
            break  # those in use come first
        if runs and runs[-1].slot == slot:
            runs[-1] = _Run(slot, slice(runs[-1].places.start, start + rows))
        else:
            runs.append(_Run(slot, slice(start, start + rows)))
    return runs


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the tables say of one module of an adapter."""

    base: int
    rank: int
    scale: float


def _entry(tables: AdapterTables, slot: int, layer: int, module: int) -> _Entry:
    at = slot, layer, module
    return _Entry(
        int(_host(tables.base)[at]), int(_host(tables.rank)[at]), float(_host(tables.scale)[at])
    )


def _host(tensor: Tensor) -> np.ndarray:
    """The values on the host; of a tensor that lies there, without a copy."""
    return tensor.cpu().numpy()


def _matrix(
    pages: Tensor, tables: AdapterTables, slot: int, start: int, rows: int, width: int
) -> Tensor:
    """The elements [rows, width] from offset `start` of the adapter's stream on, float32."""
    kv_dim = pages.shape[1]
    first, end = start // kv_dim, start + rows * width
    ids = tables.page[slot, first : -(-end // kv_dim)]
    stream = pages.index_select(0, ids).view(-1)[start - first * kv_dim :]
    return stream[: rows * width].view(rows, width).float()
