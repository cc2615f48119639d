"""Block sizes, warps and pipeline depths of the LoRA kernels, chosen from static sizes alone.

Sizes were chosen for GPUs like the H100 and H200: 132 multiprocessors with 64 Ki registers and 227
KiB of shared memory each, which need some 30 to 60 KiB of loads in flight on each of them to keep
HBM busy. What a kernel's blocks have to do with that stands beside the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import triton

from kernels.lora_batch import DECODE_SLICES, LoraBatch
from kernels.shapes import ModelShape


@dataclass(frozen=True, slots=True)
class ShrinkConfig:
    """`rank_programs` programs share the ranks of a module, `block_r` at a time in turn."""

    block_r: int
    rank_programs: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True, slots=True)
class ExpandConfig:
    """Each program computes `columns` columns of one module, `block_n` columns and `block_r` ranks
    at a time."""

    columns: int
    block_n: int
    block_r: int
    num_warps: int
    num_stages: int


# Programs with which a launch fills a GPU, and so many that a part of them should not just exit.
ENOUGH_PROGRAMS = 512
MANY_PROGRAMS = 2048


def shrink_config(batch: LoraBatch, group: str) -> ShrinkConfig:
    """How `shrink` runs for the batch's static sizes."""
    cut = batch.cuts[group]
    programs = batch.tiles * cut.splits * len(cut.outer)
    if not batch.decode:
        block_r = min(max(triton.next_power_of_2(batch.max_rank), 16), 64)
        return ShrinkConfig(block_r, triton.cdiv(batch.max_rank, block_r), 4, 3)
    # More programs for the ranks of a module make one adapter of a high rank faster, but those
    # above an adapter's rank only start and exit.
    rank_programs = min(max(MANY_PROGRAMS // programs, 1), triton.cdiv(batch.max_rank, 16))
    # With few programs, keep two tiles of A on their way in each; else more programs at a time.
    num_stages = 3 if programs * rank_programs <= ENOUGH_PROGRAMS else 2
    return ShrinkConfig(16, rank_programs, DECODE_SLICES, num_stages)


def expand_config(batch: LoraBatch, group: str) -> ExpandConfig:
    """How `expand` runs for the batch's static sizes."""
    outer = batch.cuts[group].outer
    block_n = min(256 if batch.decode else 64, batch.chunk)
    # As many columns of a page as leave enough programs.
    columns = block_n
    while columns < batch.chunk and batch.tiles * sum(outer) >= 2 * columns * ENOUGH_PROGRAMS:
        columns *= 2
    if batch.decode:
        # 24 KiB of B^T on their way in each; 8 warps with 64 to 80 registers a thread: 3 or 4 fit.
        return ExpandConfig(columns, block_n, 16, 8, 4)
    return ExpandConfig(columns, block_n, 16, 4, 3)


def compile_batches() -> Iterator[tuple[str, ModelShape, LoraBatch, str]]:
    """What the kernels are compiled for without a GPU: (dtype, shape, batch, group).

    Llama-3.1-8B, decode and prefill, in each dtype, and in bfloat16 also the group of its widest
    input; and one of 8 GPUs that share Llama-3.1-70B, for its narrow pages, with a low rank.
    """
    llama_8b = ModelShape(4096, 14336, 32, 32, 8, 128, 128_256)
    llama_70b = ModelShape(8192, 28672, 80, 64, 8, 128, 128_256).shard(8)
    for dtype in ("bf16", "fp16", "fp32"):
        for tokens in (256, 8192):
            batch = LoraBatch(tokens, 64, 64, llama_8b, "meta")
            for group in ("qkv", "down") if dtype == "bf16" else ("qkv",):
                yield dtype, llama_8b, batch, group
    for tokens in (8, 2048):
        yield "bf16", llama_70b, LoraBatch(tokens, 64, 16, llama_70b, "meta"), "gate_up"
