"""Sorting tokens by adapter, cutting them into tiles, and cutting sums into splits."""

from __future__ import annotations

from types import ModuleType

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from kernels import torch_ops, triton_ops
from kernels.lora_batch import LoraBatch, chunk_elements
from kernels.shapes import GROUPS, ModelShape
from tests.unit.kernels.adapters import ODD

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LLAMA_8B = ModelShape(4096, 14336, 32, 32, 8, 128, 128_256)
LLAMA_70B = ModelShape(8192, 28672, 80, 64, 8, 128, 128_256)


def check_tiles(ops: ModuleType, slots: list[int], batch: LoraBatch) -> None:
    for buffer in (batch.order, batch.tile_slot, batch.tile_start, batch.tile_rows):
        buffer.fill_(-7)
    ops.prepare_lora(torch.tensor(slots, dtype=torch.int32, device=DEVICE), batch)
    order = batch.order.tolist()[: len(slots)]
    adapters = [token for token in order if slots[token] >= 0]
    assert sorted(order) == list(range(len(slots)))
    assert order[: len(adapters)] == adapters
    assert adapters == sorted(adapters, key=lambda token: (slots[token], token))

    tiled: list[int] = []
    tiles = list(
        zip(
            batch.tile_slot.tolist(),
            batch.tile_start.tolist(),
            batch.tile_rows.tolist(),
            strict=True,
        )
    )
    in_use = [tile for tile in tiles if tile[2]]
    assert tiles[: len(in_use)] == in_use
    for slot, start, rows in in_use:
        assert 0 < rows <= batch.block_m
        assert [slots[token] for token in order[start : start + rows]] == [slot] * rows
        tiled += order[start : start + rows]
    assert tiled == adapters
    runs = {slot: slots.count(slot) for slot in slots if slot >= 0}
    assert len(in_use) == sum(-(-run // batch.block_m) for run in runs.values())


@pytest.mark.parametrize(
    ("ops", "examples"), [(torch_ops, 100), (triton_ops, 25)], ids=["torch", "triton"]
)
def test_tiles_hold_each_adapters_tokens_once_and_in_order(ops: ModuleType, examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.lists(st.integers(-1, 5), min_size=1, max_size=80), st.integers(0, 700))
    def any_tokens(slots: list[int], spare_tokens: int) -> None:
        check_tiles(ops, slots, LoraBatch(len(slots) + spare_tokens, 6, 16, ODD, DEVICE))

    any_tokens()


@pytest.mark.parametrize("ops", [torch_ops, triton_ops], ids=["torch", "triton"])
def test_tiles_of_a_step_longer_than_a_block_of_the_sort(ops: ModuleType) -> None:
    slots = [(7 * token) % 11 - 1 for token in range(1100)]
    check_tiles(ops, slots, LoraBatch(1100, 10, 16, ODD, DEVICE))


@pytest.mark.parametrize("ops", [torch_ops, triton_ops], ids=["torch", "triton"])
def test_the_worst_case_fills_all_tiles(ops: ModuleType) -> None:
    batch = LoraBatch(40, 4, 16, ODD, DEVICE)
    check_tiles(ops, [0] * 37 + [1, 2, 3], batch)
    assert batch.tiles == 4 + 36 // 16
    assert (batch.tile_rows > 0).all()


@pytest.mark.parametrize("ops", [torch_ops, triton_ops], ids=["torch", "triton"])
def test_more_tokens_than_the_batch_was_made_for_are_refused(ops: ModuleType) -> None:
    batch = LoraBatch(4, 2, 16, ODD, DEVICE)
    with pytest.raises(ValueError, match="5 tokens, but the batch was made for 4"):
        ops.prepare_lora(torch.zeros(5, dtype=torch.int32, device=DEVICE), batch)


@given(
    st.integers(1, 20_000),
    st.integers(1, 1000),
    st.sampled_from([LLAMA_8B, LLAMA_70B, LLAMA_70B.shard(8), ODD]),
)
def test_splits_cover_the_input_and_none_is_empty(
    tokens: int, slots: int, shape: ModelShape
) -> None:
    batch = LoraBatch(tokens, slots, 64, shape, "meta")
    for group in GROUPS:
        cut = batch.cuts[group]
        assert (cut.splits - 1) * cut.split < cut.inner <= cut.splits * cut.split
        assert cut.split % cut.slice == 0
        assert batch.chunk % cut.slice == 0
        assert cut.inner % cut.slice == 0
        assert batch.planes(group).shape == (cut.splits, tokens, 64 * len(cut.outer))


def test_pieces_are_a_whole_page_where_the_widths_allow() -> None:
    assert chunk_elements(LLAMA_8B) == 1024
    assert chunk_elements(LLAMA_70B.shard(8)) == 128
    assert chunk_elements(ODD) == 16
