"""Sums over decoding sequences are what counting each sequence step by step gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.serving.adapter_state import AdapterState
from simlora.serving.batch_shape import BatchShape
from simlora.serving.decode_set import DecodeSet
from simlora.serving.request import Request

PARAMETERS = (1000, 2500)


@dataclass
class Sequence:
    """One decoding sequence, kept by hand."""

    request: Request
    kv_tokens: int
    left: int  # tokens to come


def request_of(index: int, prompt: int, output: int, adapter: AdapterState | None) -> Request:
    request = Request(index, 0.0, 0, 0, -1, prompt, output)
    request.emitted_tokens = 1
    request.adapter_state = adapter
    return request


def blocks_opened(sequences: list[Sequence], steps: int, block_tokens: int) -> int:
    return sum(
        (sequence.kv_tokens + step) % block_tokens == 0
        for sequence in sequences
        for step in range(steps)
    )


def shape_of(sequences: list[Sequence]) -> BatchShape:
    used = [s.request.adapter_state for s in sequences if s.request.adapter_state is not None]
    distinct = {state.index: state.parameters for state in used}
    return BatchShape(
        decode_seqs=len(sequences),
        decode_attended_tokens=sum(sequence.kv_tokens + 1 for sequence in sequences),
        lora_tokens=len(used),
        lora_token_parameters=sum(state.parameters for state in used),
        distinct_adapters=len(distinct),
        distinct_adapter_parameters=sum(distinct.values()),
    )


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("join"), st.integers(1, 40), st.integers(2, 30), st.sampled_from([None, 0, 1])
        ),
        st.tuples(st.just("advance"), st.integers(1, 20)),
        st.tuples(st.just("preempt"), st.integers(0, 100)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(st.sampled_from([1, 4, 16]), ACTIONS)
def test_a_decode_set_is_as_a_count_by_hand(
    block_tokens: int, actions: list[tuple[Any, ...]]
) -> None:
    shape = BatchShape()
    decodes = DecodeSet(block_tokens, shape)
    adapters = [AdapterState(index, PARAMETERS[index], 0, 0, False) for index in (0, 1)]
    sequences: list[Sequence] = []
    for index, (action, *arguments) in enumerate(actions):
        if action == "join":
            prompt, output, adapter = arguments
            state = None if adapter is None else adapters[adapter]
            request = request_of(index, prompt, output, state)
            decodes.join(request, prompt)
            sequences.append(Sequence(request, prompt, output - 1))
        elif action == "preempt" and sequences:
            sequence = sequences.pop(arguments[0] % len(sequences))
            assert decodes.leave(sequence.request) == sequence.kv_tokens
            assert sequence.request.emitted_tokens == sequence.request.output_tokens - sequence.left
        elif action == "advance" and sequences:
            nearest = min(sequence.left for sequence in sequences)
            assert decodes.steps_to_finish() == nearest
            steps = min(arguments[0], nearest)
            assert decodes.new_blocks(steps) == blocks_opened(sequences, steps, block_tokens)
            decodes.advance(steps)
            for sequence in sequences:
                sequence.kv_tokens += steps
                sequence.left -= steps
            finished = []
            while (request_done := decodes.pop_finished()) is not None:
                decodes.leave(request_done)
                finished.append(request_done.index)
            assert finished == sorted(s.request.index for s in sequences if s.left == 0)
            sequences = [sequence for sequence in sequences if sequence.left]
        assert shape == shape_of(sequences)
        assert decodes.next_blocks() == blocks_opened(sequences, 1, block_tokens)
        expected = sorted(sequence.request.index for sequence in sequences)
        assert sorted(request.index for request in decodes.members()) == expected


@settings(max_examples=300)
@given(
    block_tokens=st.sampled_from([1, 4, 16]),
    contexts=st.lists(st.integers(1, 200), min_size=1, max_size=12),
    blocks=st.integers(0, 60),
    limit=st.integers(1, 200),
)
def test_steps_within_are_the_most_that_open_no_more_blocks(
    block_tokens: int, contexts: list[int], blocks: int, limit: int
) -> None:
    decodes = DecodeSet(block_tokens, BatchShape())
    sequences = []
    for index, context in enumerate(contexts):
        request = request_of(index, context, 1000, None)
        decodes.join(request, context)
        sequences.append(Sequence(request, context, 999))
    steps = decodes.steps_within(blocks, limit)
    assert blocks_opened(sequences, steps, block_tokens) <= blocks
    assert steps == limit or blocks_opened(sequences, steps + 1, block_tokens) > blocks


def test_a_preempted_sequence_that_comes_back_ends_once() -> None:
    decodes = DecodeSet(4, BatchShape())
    request = request_of(0, 5, 10, None)
    decodes.join(request, 5)
    decodes.advance(3)
    assert decodes.leave(request) == 8
    assert request.emitted_tokens == 4
    request.emitted_tokens += 1  # recomputing its tokens gives the next one
    decodes.join(request, 9)
    assert decodes.steps_to_finish() == 5
    decodes.advance(5)
    assert decodes.pop_finished() is request
    decodes.leave(request)
    decodes.advance(10)
    assert decodes.pop_finished() is None
