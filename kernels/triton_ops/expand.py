"""The second half of LoRA: y += scale * (partial B^T), for each token with its own adapter's B.

partial is what shrink left, B^T is [rank, out] for each module of the group, and y [tokens, sum of
outs] holds the modules' outputs side by side. Reading B^T is what takes the time in decode, reading
and writing y in prefill.

A program computes a run of columns of one module for one tile of tokens: 256, so that even a single
adapter gives a GPU enough programs, up to a page (1024 at kv_dim = 1024) where tiles alone do. Rows
of B^T, cut so, are contiguous pieces of pages. Sums are float32, and y is rounded once: the factors
that come from shrink are float32 but B is not, so they are taken apart into two numbers of B's
type, high and low half, which costs a second product and keeps 16 bits or more of them.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from kernels.compile import CompileCase
from kernels.lora_batch import LoraBatch
from kernels.tables import AdapterTables
from kernels.triton_ops.lora_batch import MODULE_COUNT, locate
from kernels.triton_ops.lora_configs import compile_batches, expand_config

SIZES_THAT_VARY = ["max_pages", "layers", "layer", "plane_rows"]


@triton.jit
def _add_planes(
    partial: tl.tensor,
    exists: tl.tensor,
    plane: tl.tensor,  # elements of a plane
    SPLITS: tl.constexpr,
) -> tl.tensor:
    """Sum over shrink's splits. Unrolled: all loads go out before the first addition waits."""
    total = tl.load(partial, exists, other=0.0)
    for split in tl.static_range(1, SPLITS):
        total += tl.load(partial + split * plane, exists, other=0.0)
    return total


@triton.jit(do_not_specialize=SIZES_THAT_VARY)
def _expand(
    y: tl.tensor,
    pages: tl.tensor,
    page: tl.tensor,
    base: tl.tensor,
    rank: tl.tensor,
    scale: tl.tensor,
    order: tl.tensor,
    tile_slot: tl.tensor,
    tile_start: tl.tensor,
    tile_rows: tl.tensor,
    partial: tl.tensor,
    y_stride: tl.tensor,
    max_pages: tl.tensor,
    layers: tl.tensor,
    layer: tl.tensor,
    plane_rows: tl.tensor,
    KV_DIM: tl.constexpr,
    INNER: tl.constexpr,
    OUTER_0: tl.constexpr,  # width of the first module's output
    OUTER_1: tl.constexpr,  # and of the others', which are alike in every group
    FIRST: tl.constexpr,  # index of the group's first module
    MODULES: tl.constexpr,
    RANK_COLUMNS: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    COLUMNS: tl.constexpr,  # of one program
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
) -> None:
    tile = tl.program_id(1)
    column = tl.program_id(0) * COLUMNS
    module = tl.where(column < OUTER_0, 0, 1 + (column - OUTER_0) // OUTER_1)
    outer = tl.where(column < OUTER_0, OUTER_0, OUTER_1)
    own_column = tl.where(column < OUTER_0, column, (column - OUTER_0) % OUTER_1)
    slot = tl.load(tile_slot + tile)
    start = tl.load(tile_start + tile)
    rows = tl.load(tile_rows + tile)
    if rows == 0:
        return
    entry = (slot * layers + layer) * MODULE_COUNT + FIRST + module
    adapter_rank = tl.load(rank + entry)
    adapter_scale = tl.load(scale + entry)
    begin = tl.load(base + entry) + adapter_rank * INNER  # B^T follows A
    if adapter_rank == 0:
        return

    m = tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    inside = (m < rows)[:, None]
    token = tl.load(order + start + m, m < rows, other=0).to(tl.int64)
    y_rows = y + token[:, None] * y_stride + column + n[None, :]
    first_page = page + slot.to(tl.int64) * max_pages + begin // KV_DIM
    corner = (begin % KV_DIM).to(tl.int32) + own_column
    plane = plane_rows * (MODULES * RANK_COLUMNS)
    factors = partial + (start + m)[:, None] * (MODULES * RANK_COLUMNS) + module * RANK_COLUMNS

    # One loop over blocks of columns and, within them, of ranks, so that B^T is one stream and the
    # next blocks of it are on their way while y is read and written. Look-ups and factors run one
    # block ahead of the product.
    r = tl.arange(0, BLOCK_R)
    at = locate(first_page, corner + r * outer, r < adapter_rank, KV_DIM)
    kept = inside & (r < RANK_COLUMNS)[None, :]  # of a plane's row, this module's
    factor = _add_planes(factors + r[None, :], kept, plane, SPLITS)
    total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    steps = tl.cdiv(adapter_rank, BLOCK_R)
    for step in range(steps * (COLUMNS // BLOCK_N)):
        exists = r < adapter_rank
        b = tl.load(pages + at[:, None] + n[None, :], exists[:, None], other=0.0)
        # Columns at or above the rank were never written. Masking their loads would part them.
        factor = tl.where(exists[None, :], factor, 0.0)
        high = factor.to(b.dtype)
        if b.dtype != tl.float32:
            low = (factor - high.to(tl.float32)).to(b.dtype)
            total = tl.dot(low, b, total)
        total = tl.dot(high, b, total, input_precision="ieee")

        done = (step + 1) % steps == 0
        if done:
            y_block = y_rows + step // steps * BLOCK_N
            before = tl.load(y_block, inside, other=0.0).to(tl.float32)
            tl.store(y_block, (before + adapter_scale * total).to(y.dtype.element_ty), inside)
        total = tl.where(done, 0.0, total)
        r = (step + 1) % steps * BLOCK_R + tl.arange(0, BLOCK_R)
        offset = corner + r * outer + (step + 1) // steps * BLOCK_N
        more = step + 1 < steps * (COLUMNS // BLOCK_N)
        at = locate(first_page, offset, more & (r < adapter_rank), KV_DIM)
        kept = inside & (more & (r < RANK_COLUMNS))[None, :]
        factor = _add_planes(factors + r[None, :], kept, plane, SPLITS)


def expand(
    y: Tensor, pages: Tensor, tables: AdapterTables, batch: LoraBatch, layer: int, group: str
) -> None:
    """y[t] += scale * (partial[t] B^T) for the modules of a group, by adapter; one launch.

    y is [tokens, sum of the modules' widths] with rows that are contiguous and 16-byte aligned.
    Tokens without adapter are left as they are.
    """
    blocks, grid, options = _launch(batch, group)
    _expand[grid](
        y, pages, tables.page, tables.base, tables.rank, tables.scale,
        batch.order, batch.tile_slot, batch.tile_start, batch.tile_rows, batch.partial,
        y.stride(0), tables.page.shape[1], tables.base.shape[1], layer, batch.max_tokens,
        KV_DIM=pages.shape[1], **blocks, **options,
    )  # fmt: skip


def _launch(batch: LoraBatch, group: str) -> tuple[dict[str, int], tuple[int, int], dict[str, int]]:
    """Compile-time arguments but KV_DIM, grid, and options of the launch."""
    cut, config = batch.cuts[group], expand_config(batch, group)
    blocks = {
        "INNER": cut.inner,
        "OUTER_0": cut.outer[0],
        "OUTER_1": cut.outer[-1],
        "FIRST": cut.first,
        "MODULES": len(cut.outer),
        "RANK_COLUMNS": batch.rank_columns,
        "SPLITS": cut.splits,
        "BLOCK_M": batch.block_m,
        "COLUMNS": config.columns,
        "BLOCK_N": config.block_n,
        "BLOCK_R": config.block_r,
    }
    grid = (sum(cut.outer) // config.columns, batch.tiles)
    return blocks, grid, {"num_warps": config.num_warps, "num_stages": config.num_stages}


def compile_cases() -> list[CompileCase]:
    """Every group of every shape, dtype, rank and step that `compile_batches` names."""
    pointers = {"page": "*i32", "base": "*i64", "rank": "*i32", "scale": "*fp32", "order": "*i32"}
    pointers |= dict.fromkeys(("tile_slot", "tile_start", "tile_rows"), "*i32")
    sizes = dict.fromkeys(SIZES_THAT_VARY, "i32")
    cases = []
    for dtype, shape, batch, group in compile_batches():
        blocks, _, options = _launch(batch, group)
        data = {"y": f"*{dtype}", "pages": f"*{dtype}", "partial": "*fp32", "y_stride": "i32:16"}
        blocks["KV_DIM"] = shape.kv_dim
        cases.append(CompileCase(_expand, data | pointers | sizes, blocks, **options))
    return cases
