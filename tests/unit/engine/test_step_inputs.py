"""Where a step's integers lie on the device, and what they say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from simlora.engine.step_inputs import InputBuffer, SequenceStep, StepInputs

TENSORS = (
    "token",
    "position",
    "kv_slot",
    "adapter_slot",
    "context",
    "last",
    "query_start",
    "block_table",
)
MAX_BLOCKS = 5


def part(tokens: Sequence[int], position: int, blocks: Sequence[int], slot: int) -> SequenceStep:
    ints = [np.array(each, dtype=np.int32) for each in (tokens, blocks)]
    return SequenceStep(ints[0], position, ints[1], slot)


DECODES = [part([50], 9, [7, 2, 4], 1), part([60], 0, [3], -1)]
CHUNKS = [part([70, 71, 72], 3, [9, 6], 0), part([80, 81], 0, [8, 1], -1)]


@pytest.fixture
def buffer() -> InputBuffer:
    made = InputBuffer(8, 32, MAX_BLOCKS, 4, torch.device("cpu"))
    # What a step leaves behind, for the next one to trip over.
    for decodes in range(8):
        chunk = part([98] * 20, 0, [16, 17, 18, 19, 20], 6)
        made.fill([part([99], 19, [11, 12, 13, 14, 15], 5)] * decodes, [chunk])
    return made


def addresses(inputs: StepInputs) -> list[int]:
    return [getattr(inputs, name).data_ptr() for name in TENSORS]


def test_a_step_is_decodes_then_chunks_token_by_token(buffer: InputBuffer) -> None:
    inputs = buffer.fill(DECODES, CHUNKS)
    assert (inputs.decodes, inputs.prefills) == (2, 2)
    assert inputs.token.tolist() == [50, 60, 70, 71, 72, 80, 81]
    assert inputs.position.tolist() == [9, 0, 3, 4, 5, 0, 1]
    # block * 4 + offset: token 9 is the second of its third block.
    assert inputs.kv_slot.tolist() == [17, 12, 39, 24, 25, 32, 33]
    assert inputs.adapter_slot.tolist() == [1, -1, 0, 0, 0, -1, -1]
    assert inputs.context.tolist() == [10, 1, 6, 2]
    assert inputs.last.tolist() == [0, 1, 4, 6]
    assert inputs.query_start.tolist() == [0, 3, 5]
    assert inputs.block_table.shape == (4, 16)  # a multiple of 16 that has room for MAX_BLOCKS
    for row, sequence in zip(inputs.block_table, (*DECODES, *CHUNKS), strict=True):
        assert row[: len(sequence.blocks)].tolist() == sequence.blocks.tolist()


def test_padding_attends_nothing_and_is_kept_nowhere(buffer: InputBuffer) -> None:
    inputs = buffer.fill(DECODES, CHUNKS, padded=4)
    assert (inputs.decodes, inputs.prefills) == (4, 2)
    assert inputs.token.tolist() == [50, 60, 0, 0, 70, 71, 72, 80, 81]
    assert inputs.position.tolist() == [9, 0, 0, 0, 3, 4, 5, 0, 1]
    assert inputs.kv_slot.tolist() == [17, 12, -1, -1, 39, 24, 25, 32, 33]
    assert inputs.adapter_slot.tolist() == [1, -1, -1, -1, 0, 0, 0, -1, -1]
    assert inputs.context.tolist() == [10, 1, 0, 0, 6, 2]
    assert inputs.last.tolist() == [0, 1, 0, 0, 6, 8]
    assert inputs.query_start.tolist() == [0, 3, 5]
    for row, sequence in zip((0, 1, 4, 5), (*DECODES, *CHUNKS), strict=True):
        blocks = inputs.block_table[row, : len(sequence.blocks)]
        assert blocks.tolist() == sequence.blocks.tolist()


def test_a_step_of_padding_alone_is_nothing_but_padding(buffer: InputBuffer) -> None:
    inputs = buffer.fill([], [], padded=3)
    assert inputs.context.tolist() == [0, 0, 0]
    assert inputs.kv_slot.tolist() == inputs.adapter_slot.tolist() == [-1, -1, -1]
    assert inputs.query_start.tolist() == [0]


def test_decodes_alone_have_no_chunk(buffer: InputBuffer) -> None:
    inputs = buffer.fill(DECODES, [])
    assert inputs.query_start.tolist() == [0]
    assert inputs.prefills == 0


def test_padding_to_as_many_as_there_are_changes_nothing(buffer: InputBuffer) -> None:
    def values(padded: int | None) -> list[list[int]]:
        inputs = buffer.fill(DECODES, CHUNKS, padded)
        found: list[Tensor] = [getattr(inputs, name) for name in TENSORS[:-1]]
        return [each.tolist() for each in found]

    assert values(None) == values(2)


def test_steps_alike_in_size_lie_at_the_same_addresses(buffer: InputBuffer) -> None:
    first = buffer.fill(DECODES, [], padded=4)
    places = addresses(first)
    buffer.fill([], CHUNKS)
    second = buffer.fill([part([5], 2, [1], 3)] * 3, [], padded=4)
    assert addresses(second) == places
    assert first.token.tolist() == [5, 5, 5, 0]  # what was captured sees the new step
    # Chunks may be cut otherwise, as long as they have as many tokens.
    assert addresses(buffer.fill(DECODES, CHUNKS)) == addresses(buffer.fill(DECODES, CHUNKS[::-1]))


def test_all_integers_are_int32_and_none_shares_its_place(buffer: InputBuffer) -> None:
    inputs = buffer.fill(DECODES, CHUNKS)
    spans = []
    for name in TENSORS:
        tensor = getattr(inputs, name)
        assert tensor.dtype == torch.int32
        assert tensor.is_contiguous()
        assert (tensor.data_ptr() - inputs.token.data_ptr()) % 16 == 0
        spans.append((tensor.data_ptr(), tensor.data_ptr() + 4 * tensor.numel()))
    spans.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_there_is_room_for_the_largest_step() -> None:
    sequences, tokens = 4, 12
    blocks = [1, 2, 3, 4, 5]
    for decodes in range(sequences + 1):
        chunks = sequences - decodes
        buffer = InputBuffer(sequences, tokens, MAX_BLOCKS, 4, torch.device("cpu"))
        inputs = buffer.fill(
            [part([1], 17, blocks, 0)] * decodes,
            [part([1] * ((tokens - decodes) // chunks), 0, blocks, 0)] * chunks if chunks else [],
        )
        assert inputs.block_table[:, : len(blocks)].tolist() == [blocks] * sequences
