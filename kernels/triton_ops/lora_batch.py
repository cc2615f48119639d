"""Sorting a step's tokens by adapter on the device, and what shrink and expand share.

Two launches a step, whatever the number of layers. Ranking every token against all others takes
tokens^2 comparisons, some 10 us of one GPU at 8192 tokens and next to nothing in decode, and
unlike a radix sort it is stable, needs no scratch of its own and takes any number of slots.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.compile import CompileCase
from kernels.lora_batch import LoraBatch
from kernels.shapes import MODULES

NO_ADAPTER = tl.constexpr(2**30)  # sorts behind every slot
MODULE_COUNT = tl.constexpr(len(MODULES))
SORT_ROWS, SORT_COLUMNS = 32, 256
TILE_BLOCK = 1024


@triton.jit(do_not_specialize=["tokens"])
def _sort_tokens(
    slot_of_token: tl.tensor,
    order: tl.tensor,
    run_offset: tl.tensor,
    run_left: tl.tensor,
    run_slot: tl.tensor,
    tokens: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
) -> None:
    """Each program finds the places of ROWS tokens: tokens with lesser slots, and those before."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    own = tl.load(slot_of_token + row, row < tokens, other=-1)
    own = tl.where(own < 0, NO_ADAPTER, own)
    lesser = tl.zeros((ROWS,), tl.int32)
    before = tl.zeros((ROWS,), tl.int32)
    same = tl.zeros((ROWS,), tl.int32)
    for first in range(0, tokens, COLUMNS):
        column = first + tl.arange(0, COLUMNS)
        slot = tl.load(slot_of_token + column, column < tokens, other=-1)
        slot = tl.where(slot < 0, NO_ADAPTER, slot)
        exists = (column < tokens)[None, :]
        equal = exists & (slot[None, :] == own[:, None])
        lesser += tl.sum((exists & (slot[None, :] < own[:, None])).to(tl.int32), 1)
        before += tl.sum((equal & (column[None, :] < row[:, None])).to(tl.int32), 1)
        same += tl.sum(equal.to(tl.int32), 1)
    place = lesser + before
    tl.store(order + place, row, row < tokens)
    tl.store(run_offset + place, before, row < tokens)
    tl.store(run_left + place, tl.where(own == NO_ADAPTER, 0, same - before), row < tokens)
    tl.store(run_slot + place, own, row < tokens)


@triton.jit(do_not_specialize=["tokens", "tiles"])
def _cut_tiles(
    run_offset: tl.tensor,
    run_left: tl.tensor,
    run_slot: tl.tensor,
    tile_slot: tl.tensor,
    tile_start: tl.tensor,
    tile_rows: tl.tensor,
    tokens: tl.tensor,
    tiles: tl.tensor,
    BLOCK_M: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One program numbers the places at which a tile begins, every BLOCK_M-th token of a slot."""
    used = tl.zeros((), tl.int32)
    for first in range(0, tokens, BLOCK):
        place = first + tl.arange(0, BLOCK)
        left = tl.load(run_left + place, place < tokens, other=0)
        offset = tl.load(run_offset + place, place < tokens, other=0)
        slot = tl.load(run_slot + place, place < tokens, other=0)
        begins = (left > 0) & (offset % BLOCK_M == 0)
        tile = used + tl.cumsum(begins.to(tl.int32), 0) - 1
        tl.store(tile_slot + tile, slot, begins)
        tl.store(tile_start + tile, place, begins)
        tl.store(tile_rows + tile, tl.minimum(left, BLOCK_M), begins)
        used += tl.sum(begins.to(tl.int32))
    for first in range(used, tiles, BLOCK):
        tile = first + tl.arange(0, BLOCK)
        tl.store(tile_rows + tile, tl.zeros((BLOCK,), tl.int32), tile < tiles)


@triton.jit
def locate(
    first_page: tl.tensor, offset: tl.tensor, exists: tl.tensor, KV_DIM: tl.constexpr
) -> tl.tensor:
    """Where in the pool stream offsets lie that are counted from the start of `first_page`.

    Offsets are multiples of 16, and so few that they fit 32 bits, as a module's matrices always do;
    a pool may have more than 2^31 elements.
    """
    page = tl.load(first_page + offset // KV_DIM, exists, other=0).to(tl.int64)
    # The compiler cannot see through the tables that rows begin at multiples of 16 elements, which
    # lets it read 16 bytes at once; it can see this.
    return page * KV_DIM + offset % KV_DIM // 16 * 16


def prepare_lora(slot_of_token: torch.Tensor, batch: LoraBatch) -> None:
    """Sort the step's tokens by slot and cut them into tiles.

    `slot_of_token` is [tokens] int32, -1 for tokens without adapter and for padding. Raises
    ValueError if there are more tokens than the batch was made for.
    """
    tokens = len(slot_of_token)
    if tokens > batch.max_tokens:
        raise ValueError(f"{tokens} tokens, but the batch was made for {batch.max_tokens}")
    _sort_tokens[(triton.cdiv(tokens, SORT_ROWS),)](
        slot_of_token, batch.order, batch.run_offset, batch.run_left, batch.run_slot, tokens,
        ROWS=SORT_ROWS, COLUMNS=SORT_COLUMNS,
    )  # fmt: skip
    _cut_tiles[(1,)](
        batch.run_offset, batch.run_left, batch.run_slot,
        batch.tile_slot, batch.tile_start, batch.tile_rows, tokens, batch.tiles,
        BLOCK_M=batch.block_m, BLOCK=TILE_BLOCK,
    )  # fmt: skip


def compile_cases() -> list[CompileCase]:
    """Both kernels, the second for decode and prefill."""
    runs = {"run_offset": "*i32", "run_left": "*i32", "run_slot": "*i32", "tokens": "i32"}
    tiles = {"tile_slot": "*i32", "tile_start": "*i32", "tile_rows": "*i32", "tiles": "i32"}
    sort = CompileCase(
        _sort_tokens,
        {"slot_of_token": "*i32", "order": "*i32", **runs},
        {"ROWS": SORT_ROWS, "COLUMNS": SORT_COLUMNS},
    )
    cuts = [
        CompileCase(_cut_tiles, runs | tiles, {"BLOCK_M": block_m, "BLOCK": TILE_BLOCK})
        for block_m in (16, 64)
    ]
    return [sort, *cuts]
