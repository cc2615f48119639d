"""Which tokens of a step belong to which adapter, and how the work of a LoRA step is cut.

A LoRA layer computes y[t] += scale * B (A x[t]) with the A and B of token t's adapter. The backends
do so in two steps over tokens sorted by adapter: shrink, A x in float32, and expand, the rest.

Everything here has a fixed shape and is reused step after step, so that a step can be captured in
a CUDA graph: the sort and the tiles depend on the step's tokens and are computed on the device
(`prepare_lora`), the number of tiles and of splits depends on sizes alone and is known here.

How the work is cut:

* Tiles of at most `block_m` tokens of one adapter. 16 rows, the least that tensor cores take, for
  decode, where few tokens share an adapter and all the time goes into reading weights. 64 for
  prefill, so that weights are read again for every 64th token only.
* Shrink gives each module only `rank` output columns, far too few programs for a GPU, so its sum
  over the input is split. Splits write to planes of their own and expand adds them up: nothing is
  zeroed beforehand, nothing is added atomically, and the result is the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor

from kernels.shapes import GROUPS, MODULES, ModelShape

DECODE_TOKENS = 512  # steps of more tokens hold prefill
MANY_ROWS = 32  # so many tokens for each slot also make tiles of 64 rows worth their while
DECODE_SLICES = 4  # slices of a split, each of which one warp sums
MAX_PLANES = 16  # more planes than this cost expand more than they give shrink
PREFILL_BLOCK_K = 128
PREFILL_PROGRAMS = 256  # for each module: about 2 a multiprocessor, on GPUs with up to 132
PREFILL_PLANES = 8
MAX_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class GroupCut:
    """A group of modules, and how shrink splits the sum over their input. Widths in elements."""

    first: int  # index in MODULES of the group's first module
    inner: int  # width of the input that the modules share
    outer: tuple[int, ...]  # widths of the modules' outputs
    slice: int  # the input is read in pieces of this width, none of which straddles a page
    split: int  # width of what one program of shrink sums over: a multiple of `slice`

    @property
    def splits(self) -> int:
        """Planes of partial sums; none is empty."""
        return -(-self.inner // self.split)


class LoraBatch:
    """Buffers of steps with at most `max_tokens` tokens and adapters of ranks up to `max_rank`.

    `prepare_lora` fills order and tiles: tile i is rows tile_start[i] to tile_start[i] +
    tile_rows[i] of `order`, tokens of the adapter in slot tile_slot[i]. Tiles in use come first,
    the others have no rows, and their slot and start mean nothing.
    """

    order: Tensor  # [max_tokens] int32: tokens sorted by slot (stable), those without adapter last
    run_offset: Tensor  # [max_tokens] int32, in that order: tokens of the same slot before this one
    run_left: Tensor  # [max_tokens] int32: tokens of the same slot from this one on; 0: no adapter
    run_slot: Tensor  # [max_tokens] int32
    tile_slot: Tensor  # [tiles] int32
    tile_start: Tensor  # [tiles] int32
    tile_rows: Tensor  # [tiles] int32
    partial: Tensor  # float32, flat; see `planes`

    def __init__(
        self,
        max_tokens: int,
        slots: int,
        max_rank: int,
        shape: ModelShape,
        device: torch.device | str,
    ) -> None:
        self.max_tokens = max_tokens
        self.max_rank = max_rank
        self.decode = max_tokens <= min(DECODE_TOKENS, MANY_ROWS * slots)
        self.block_m = 16 if self.decode else 64
        # One tile for each slot's first token, and one for every block_m of the rest.
        distinct = min(max_tokens, slots)
        self.tiles = distinct + (max_tokens - distinct) // self.block_m
        self.chunk = chunk_elements(shape)
        self.rank_columns = -(-max_rank // 16) * 16  # columns of a module in a plane
        self.cuts = {group: self._cut(shape, group) for group in GROUPS}

        def integers(size: int) -> Tensor:
            return torch.empty(size, dtype=torch.int32, device=device)

        self.order = integers(max_tokens)
        self.run_offset = integers(max_tokens)
        self.run_left = integers(max_tokens)
        self.run_slot = integers(max_tokens)
        self.tile_slot = integers(self.tiles)
        self.tile_start = integers(self.tiles)
        self.tile_rows = integers(self.tiles)
        columns = max(cut.splits * len(cut.outer) for cut in self.cuts.values()) * self.rank_columns
        self.partial = torch.empty(columns * max_tokens, dtype=torch.float32, device=device)

    def planes(self, group: str) -> Tensor:
        """Shrink's output [splits, max_tokens, modules * rank_columns] as expand reads it: rows in
        the order of `order`, module by module `rank_columns` columns. Columns at or above an
        adapter's rank, and rows of tokens without adapter, mean nothing."""
        cut = self.cuts[group]
        size = (cut.splits, self.max_tokens, len(cut.outer) * self.rank_columns)
        return self.partial[: size[0] * size[1] * size[2]].view(size)

    def _cut(self, shape: ModelShape, group: str) -> GroupCut:
        modules = GROUPS[group]
        inner = shape.linear_shapes[modules[0]][0]
        outer = tuple(shape.linear_shapes[module][1] for module in modules)
        if self.decode:
            # 512 elements a split, so that even one adapter's rows are read by several programs;
            # 1024 where that would make too many planes.
            piece = min(128, self.chunk)
            while piece < min(256, self.chunk) and inner > MAX_PLANES * DECODE_SLICES * piece:
                piece *= 2
            split = DECODE_SLICES * piece
        else:
            # Tiles alone nearly fill the GPU, and planes, with a row for each token, are large.
            piece = min(PREFILL_BLOCK_K, self.chunk)
            splits = min(PREFILL_PLANES, -(-PREFILL_PROGRAMS // self.tiles))
            split = piece * -(-(inner // piece) // splits)
        return GroupCut(MODULES.index(modules[0]), inner, outer, piece, split)


def chunk_elements(shape: ModelShape) -> int:
    """Width of the largest aligned piece of an adapter's stream that never straddles a page.

    A power of two that divides the page and every matrix's width: at least 16, at most MAX_CHUNK.
    """
    return gcd(MAX_CHUNK, shape.kv_dim, *(w for io in shape.linear_shapes.values() for w in io))
