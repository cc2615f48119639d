"""The first half of LoRA: partial <- x A^T, for each token with its own adapter's A.

x is [tokens, in], A is [rank, in] for each module of the group, and the result [tokens, rank] goes
to planes of partial sums (see kernels.lora_batch). Reading A is what takes the time: 2 in rank
bytes a module and adapter in bfloat16. True ranks are read; nothing is padded.

Two kernels, for steps of few tokens an adapter and of many:

* Decode. A tile has a handful of tokens, and a program sums over one split of the input (512
  elements, so that a module has 8 programs at in = 4096) for all ranks, 16 at a time. Its part of x
  stays in shared memory, and tiles of A, 16 KiB each, stream past it; 6 programs fit on a
  multiprocessor, which keeps 96 KiB in flight. One product [16, 512] x [512, 16] would be a chain
  of 32 dependent tensor core instructions that 4 warps compute twice over; so each warp sums a
  slice of 128 instead, and the 4 sums are added at the end.
* Prefill. Tiles of 64 tokens, all ranks up to 64 at once, so that x, which now is the larger
  operand, is read once a module; both operands stream along the input.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from kernels.compile import CompileCase
from kernels.lora_batch import DECODE_SLICES, LoraBatch
from kernels.tables import AdapterTables
from kernels.triton_ops.lora_batch import MODULE_COUNT, locate
from kernels.triton_ops.lora_configs import compile_batches, shrink_config

SIZES_THAT_VARY = ["max_pages", "layers", "layer", "plane_rows"]


@triton.jit(do_not_specialize=SIZES_THAT_VARY)
def _shrink_decode(
    x: tl.tensor,
    pages: tl.tensor,
    page: tl.tensor,
    base: tl.tensor,
    rank: tl.tensor,
    order: tl.tensor,
    tile_slot: tl.tensor,
    tile_start: tl.tensor,
    tile_rows: tl.tensor,
    partial: tl.tensor,
    x_stride: tl.tensor,
    max_pages: tl.tensor,
    layers: tl.tensor,
    layer: tl.tensor,
    plane_rows: tl.tensor,
    KV_DIM: tl.constexpr,
    INNER: tl.constexpr,
    FIRST: tl.constexpr,  # index of the group's first module
    MODULES: tl.constexpr,
    RANK_COLUMNS: tl.constexpr,
    RANK_PROGRAMS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    SLICES: tl.constexpr,
    SLICE: tl.constexpr,
) -> None:
    # Programs of a tile stand side by side: those of one split read the same part of x.
    tile = tl.program_id(1)
    share = tl.program_id(0) % RANK_PROGRAMS
    module = tl.program_id(0) // RANK_PROGRAMS % MODULES
    split = tl.program_id(0) // (RANK_PROGRAMS * MODULES)
    slot = tl.load(tile_slot + tile)
    start = tl.load(tile_start + tile)
    rows = tl.load(tile_rows + tile)
    if rows == 0:
        return
    entry = (slot * layers + layer) * MODULE_COUNT + FIRST + module
    adapter_rank = tl.minimum(tl.load(rank + entry), RANK_COLUMNS)  # no column of a neighbour's
    begin = tl.load(base + entry)
    if share * BLOCK_R >= adapter_rank:
        return

    m = tl.arange(0, BLOCK_M)
    token = tl.load(order + start + m, m < rows, other=0).to(tl.int64)
    k = (split * SLICES + tl.arange(0, SLICES)) * SLICE  # where each slice begins
    element = tl.arange(0, SLICE)

    # Look-ups run one tile ahead of the loads they are for, and the first goes out before x is
    # waited for.
    first_page = page + slot.to(tl.int64) * max_pages + begin // KV_DIM
    first_row = (begin % KV_DIM).to(tl.int32) + k[:, None]
    r = share * BLOCK_R + tl.arange(0, BLOCK_R)
    exists = (k < INNER)[:, None] & (r < adapter_rank)[None, :]
    at = locate(first_page, first_row + r[None, :] * INNER, exists, KV_DIM)
    x_block = tl.load(  # [SLICES, BLOCK_M, SLICE]
        x + token[None, :, None] * x_stride + k[:, None, None] + element[None, None, :],
        (k < INNER)[:, None, None] & (m < rows)[None, :, None],
        other=0.0,
    )
    plane = partial + split * plane_rows * (MODULES * RANK_COLUMNS) + module * RANK_COLUMNS
    out = plane + (start + m)[:, None] * (MODULES * RANK_COLUMNS)
    for _ in range(share * BLOCK_R, adapter_rank, RANK_PROGRAMS * BLOCK_R):
        a = tl.load(  # [SLICES, SLICE, BLOCK_R]
            pages + at[:, None, :] + element[None, :, None], exists[:, None, :], other=0.0
        )
        inside = (m < rows)[:, None] & (r < adapter_rank)[None, :]
        column = r
        r += RANK_PROGRAMS * BLOCK_R
        exists = (k < INNER)[:, None] & (r < adapter_rank)[None, :]
        at = locate(first_page, first_row + r[None, :] * INNER, exists, KV_DIM)
        sums = tl.dot(x_block, a, input_precision="ieee")
        tl.store(out + column[None, :], tl.sum(sums, 0), inside)


@triton.jit(do_not_specialize=SIZES_THAT_VARY)
def _shrink_prefill(
    x: tl.tensor,
    pages: tl.tensor,
    page: tl.tensor,
    base: tl.tensor,
    rank: tl.tensor,
    order: tl.tensor,
    tile_slot: tl.tensor,
    tile_start: tl.tensor,
    tile_rows: tl.tensor,
    partial: tl.tensor,
    x_stride: tl.tensor,
    max_pages: tl.tensor,
    layers: tl.tensor,
    layer: tl.tensor,
    plane_rows: tl.tensor,
    KV_DIM: tl.constexpr,
    INNER: tl.constexpr,
    FIRST: tl.constexpr,
    MODULES: tl.constexpr,
    RANK_COLUMNS: tl.constexpr,
    RANK_PROGRAMS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT: tl.constexpr,
) -> None:
    tile = tl.program_id(1)
    share = tl.program_id(0) % RANK_PROGRAMS
    module = tl.program_id(0) // RANK_PROGRAMS % MODULES
    split = tl.program_id(0) // (RANK_PROGRAMS * MODULES)
    slot = tl.load(tile_slot + tile)
    start = tl.load(tile_start + tile)
    rows = tl.load(tile_rows + tile)
    if rows == 0:
        return
    entry = (slot * layers + layer) * MODULE_COUNT + FIRST + module
    adapter_rank = tl.minimum(tl.load(rank + entry), RANK_COLUMNS)  # no column of a neighbour's
    begin = tl.load(base + entry)
    if share * BLOCK_R >= adapter_rank:
        return

    m = tl.arange(0, BLOCK_M)
    r = share * BLOCK_R + tl.arange(0, BLOCK_R)
    element = tl.arange(0, BLOCK_K)
    token = tl.load(order + start + m, m < rows, other=0).to(tl.int64)
    x_rows = x + token[:, None] * x_stride + element[None, :]
    first_page = page + slot.to(tl.int64) * max_pages + begin // KV_DIM
    row = (begin % KV_DIM).to(tl.int32) + r * INNER
    exists = r < adapter_rank
    end = tl.minimum((split + 1) * SPLIT, INNER)
    # Look-ups run one block ahead, so that the loads of a block do not wait for them.
    at = locate(first_page, row + split * SPLIT, exists, KV_DIM)
    sums = tl.zeros((BLOCK_M, BLOCK_R), tl.float32)
    for k in range(split * SPLIT, end, BLOCK_K):
        a = tl.load(pages + at[None, :] + element[:, None], exists[None, :], other=0.0)
        x_block = tl.load(x_rows + k, (m < rows)[:, None], other=0.0)
        at = locate(first_page, row + k + BLOCK_K, exists & (k + BLOCK_K < end), KV_DIM)
        sums = tl.dot(x_block, a, sums, input_precision="ieee")
    plane = partial + split * plane_rows * (MODULES * RANK_COLUMNS) + module * RANK_COLUMNS
    out = plane + (start + m)[:, None] * (MODULES * RANK_COLUMNS) + r[None, :]
    tl.store(out, sums, (m < rows)[:, None] & exists[None, :])


def shrink(
    x: Tensor, pages: Tensor, tables: AdapterTables, batch: LoraBatch, layer: int, group: str
) -> None:
    """batch.planes(group) <- x A^T for the modules of a group, by adapter; one launch.

    x is [tokens, in] with rows that are contiguous and 16-byte aligned, for the tokens that
    `prepare_lora` sorted. No adapter's rank in this layer may exceed `batch.max_rank`: what does
    not fit into a module's columns is left out, since the device cannot raise.
    """
    kernel, blocks, grid, options = _launch(batch, group)
    kernel[grid](
        x, pages, tables.page, tables.base, tables.rank,
        batch.order, batch.tile_slot, batch.tile_start, batch.tile_rows, batch.partial,
        x.stride(0), tables.page.shape[1], tables.base.shape[1], layer, batch.max_tokens,
        KV_DIM=pages.shape[1], **blocks, **options,
    )  # fmt: skip


def _launch(
    batch: LoraBatch, group: str
) -> tuple[triton.JITFunction, dict[str, int], tuple[int, int], dict[str, int]]:
    """Kernel, its compile-time arguments but KV_DIM, grid, and options of the launch."""
    cut, config = batch.cuts[group], shrink_config(batch, group)
    modules = len(cut.outer)
    blocks = {
        "INNER": cut.inner,
        "FIRST": cut.first,
        "MODULES": modules,
        "RANK_COLUMNS": batch.rank_columns,
        "RANK_PROGRAMS": config.rank_programs,
        "BLOCK_M": batch.block_m,
        "BLOCK_R": config.block_r,
    }
    if batch.decode:
        blocks |= {"SLICES": DECODE_SLICES, "SLICE": cut.slice}
    else:
        blocks |= {"BLOCK_K": cut.slice, "SPLIT": cut.split}
    grid = (cut.splits * modules * config.rank_programs, batch.tiles)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    return _shrink_decode if batch.decode else _shrink_prefill, blocks, grid, options


def compile_cases() -> list[CompileCase]:
    """Every group of every shape, dtype, rank and step that `compile_batches` names."""
    pointers = {"page": "*i32", "base": "*i64", "rank": "*i32", "order": "*i32"}
    pointers |= dict.fromkeys(("tile_slot", "tile_start", "tile_rows"), "*i32")
    sizes = dict.fromkeys(SIZES_THAT_VARY, "i32")
    cases = []
    for dtype, shape, batch, group in compile_batches():
        kernel, blocks, _, options = _launch(batch, group)
        data = {"x": f"*{dtype}", "pages": f"*{dtype}", "partial": "*fp32", "x_stride": "i32:16"}
        blocks["KV_DIM"] = shape.kv_dim
        cases.append(CompileCase(kernel, data | pointers | sizes, blocks, **options))
    return cases
