"""The engine's greedy tokens are those of the plain model, whatever the step is made of."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from kernels.accounts import KV
from kernels.lora_batch import LoraBatch
from kernels.lora_stream import pack_adapter
from kernels.shapes import MODULES, ModelShape
from simlora.engine.random_adapter import random_adapter
from simlora.engine.step_inputs import InputBuffer
from tests.unit.engine.reference_model import greedy, reference_logits
from tests.unit.engine.serving import (
    ADAPTERS,
    BASE,
    BLOCK_TOKENS,
    DEVICE,
    MAX_MODEL_LEN,
    MAX_RANK,
    TINY,
    ReplayedStep,
    Served,
    Service,
    assert_close,
    make_adapter,
    same_rank,
)

SHAPES = {
    "grouped": TINY,
    "multi-head": ModelShape(32, 48, 1, 2, 2, 16, 50),
    "one KV head": ModelShape(64, 112, 3, 6, 1, 16, 64, rope_theta=500.0),
    "wide heads": ModelShape(16, 16, 2, 2, 1, 64, 33),
    "heads wider than the model": ModelShape(32, 160, 1, 8, 4, 32, 128, rms_norm_eps=1e-6),
    "small heads": ModelShape(80, 32, 2, 8, 4, 8, 61),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_a_sequence_alone_is_continued_as_the_model_says(shape: ModelShape, adapted: bool) -> None:
    service = Service(shape, [same_rank(shape, 9, seed=5)])
    sequence = service.add(11, 0 if adapted else None)
    service.generate(sequence, 8)
    service.check(sequence)


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_tied_heads_and_biases_are_the_models(tied: bool, bias: bool) -> None:
    shape = replace(TINY, attention_bias=bias)
    service = Service(shape, ADAPTERS, tied=tied)
    assert (service.weights.head is service.weights.embedding) == tied
    assert (service.weights.layers[0].qkv_bias is not None) == bias
    for adapter in (None, 2):
        sequence = service.add(6, adapter)
        service.generate(sequence, 8)
        service.check(sequence)


@pytest.mark.parametrize("adapter", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("chunks", [[1] * 13, [4, 4, 5], [12, 1], [3, 10]], ids=str)
def test_a_prompt_in_chunks_is_the_whole_prompt(adapter: int | None, chunks: list[int]) -> None:
    service = Service(adapters=ADAPTERS)
    sequence = service.add(13, adapter)
    for chunk in chunks:
        assert not sequence.tokens
        service.step([], [(sequence, chunk)])
    service.generate(sequence, 4)
    service.check(sequence)


def test_prompts_that_fill_their_blocks_go_on_in_the_next() -> None:
    service = Service()
    for prompt in (1, 3, 4, 5, 8):
        sequence = service.add(prompt, seed=prompt)
        service.generate(sequence, 6)
        service.check(sequence)


def test_every_position_up_to_the_longest_context_has_its_rotation() -> None:
    service = Service()
    longest = service.engine.limits.max_model_len
    sequence = service.add(longest - 3)
    service.generate(sequence, 4)  # the last of them is never computed
    assert sequence.computed == longest
    service.check(sequence)


@pytest.mark.parametrize("limit", [500, 1000])
def test_contexts_long_enough_to_be_split_are_attended_whole(limit: int) -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=3, max_model_len=limit)
    sequences = [service.add(length, 2, length) for length in (limit - 3, 260, 5)]
    service.step([], [(each, each.waiting) for each in sequences])
    for batch in (3, 1, 2):
        service.step(sequences[:batch])
    service.check(*sequences)


def mixed(service: Service) -> list[Served]:
    """Eight sequences with all adapters and none, which join, are chunked and decode together."""
    adapters = [None, 0, 1, 2, 3, 2, None, 0]
    sequences = [service.add(2 + 3 * i, each, i) for i, each in enumerate(adapters)]
    a, b, c, d, e, f, g, h = sequences
    service.step([], [(a, 2), (c, 5), (b, 5)])
    service.step([b, a], [(c, 3), (f, 17), (d, 4)])
    service.step([f, a, c], [(d, 7), (e, 1)])
    service.step([a, b], [(e, 13), (h, 9), (g, 20)])
    service.step([d, e, g, f], [(h, 14)])
    for _ in range(4):
        service.step([h, a, f, b, g, c, e, d])
    service.step([e])
    return sequences


def test_steps_of_decodes_and_chunks_with_different_adapters_are_each_sequences_own() -> None:
    service = Service(adapters=ADAPTERS)
    sequences = mixed(service)
    assert {len(each.tokens) for each in sequences} >= {5, 8}
    service.check(*sequences)
    # Blocks that lie anywhere, or this would have shown little.
    assert any(np.any(np.diff(each.blocks) != 1) for each in sequences)
    service.pool.check()


def test_many_tokens_at_once_are_each_sequences_own() -> None:
    service = Service(adapters=ADAPTERS)
    sequences = [service.add(40 + i, each, i) for i, each in enumerate([0, 1, None, 2, 3, 2, 0])]
    chunks = [(each, each.waiting) for each in sequences]
    tokens = sum(count for _, count in chunks)
    service.step([], chunks)
    assert not service.engine._lora_batch(tokens).decode  # tiles of many rows
    service.step(sequences)
    service.check(*sequences)


def test_what_else_is_in_the_batch_changes_no_sequence() -> None:
    together = Service(adapters=ADAPTERS)
    for sequence in mixed(together):
        alone = Service(adapters=ADAPTERS, seed=0)
        same = Served(sequence.prompt, sequence.adapter)
        alone.generate(same, len(sequence.tokens))
        assert same.tokens == sequence.tokens
        assert_close(torch.stack(sequence.logits), torch.stack(same.logits).double())


def test_adapters_make_a_difference() -> None:
    service = Service(adapters=ADAPTERS)
    said = [
        reference_logits(TINY, service.weights, [1, 2, 3], each)[-1] for each in (BASE, *ADAPTERS)
    ]
    for i, one in enumerate(said):
        for other in said[:i]:
            assert (one - other).abs().max() > 0.1 * one.abs().max()


def test_a_random_adapter_changes_what_the_model_says_without_drowning_it() -> None:
    service = Service()
    for rank in (1, 8, 64):
        base, changed = (
            reference_logits(TINY, service.weights, list(range(20)), each)
            for each in (BASE, random_adapter(TINY, rank))
        )
        assert 0.1 < float((changed - base).norm() / base.norm()) < 1
        assert (changed.argmax(dim=1) != base.argmax(dim=1)).any()


def test_a_step_writes_the_pages_of_its_tokens_alone() -> None:
    service = Service(adapters=ADAPTERS)
    a, b, c = service.add(5, 1), service.add(6, None, 1), service.add(9, 2, 2)
    service.step([], [(a, 5), (b, 6), (c, 2)])
    before = service.pool.pages.view(torch.int32).clone()
    service.step([b, a], [(c, 4)])
    changed = (service.pool.pages.view(torch.int32) != before).any(dim=1).nonzero().flatten()
    own = (
        service.rows_of(a, range(5, 6))
        | service.rows_of(b, range(6, 7))
        | service.rows_of(c, range(2, 6))
    )
    assert set(changed.tolist()) == own


def test_blocks_of_a_common_prefix_are_read_by_all_who_share_it() -> None:
    service = Service(adapters=ADAPTERS)
    first = service.add(11, 2)
    service.generate(first, 3)
    second = Served([*first.prompt[:8], 1, 2, 3], 2, blocks=first.blocks[:2], computed=8)
    service.step([first], [(second, 3)])
    for _ in range(4):
        service.step([second, first])
    service.check(first, second)


def test_blocks_and_slots_taken_again_hold_nothing_of_their_last_owner() -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=2)
    for round_ in range(6):
        pair = [service.add(30, round_ % 4, round_), service.add(17, None, round_)]
        service.step([], [(each, each.waiting) for each in pair])
        for _ in range(3):
            service.step(pair)
        service.check(*pair)
        for each in pair:
            service.pool.release_blocks(each.blocks, KV)
        service.pool.unload(service.slots[1])
        service.slots[1] = service.pool.load(pack_adapter(TINY, ADAPTERS[1], torch.float32))
    service.pool.check()


@pytest.mark.parametrize("seed", range(3))
def test_random_models_say_what_the_reference_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kv_heads = int(rng.integers(1, 4))
    shape = ModelShape(
        hidden_size=16 * int(rng.integers(1, 6)),
        intermediate_size=16 * int(rng.integers(1, 8)),
        num_hidden_layers=int(rng.integers(1, 4)),
        num_attention_heads=kv_heads * int(rng.integers(1, 4)),
        num_key_value_heads=kv_heads,
        head_dim=16 * int(rng.integers(1, 4)),
        vocab_size=int(rng.integers(20, 200)),
        attention_bias=bool(rng.integers(2)),
    )
    count = len(MODULES) * shape.num_hidden_layers
    ranks = rng.integers(0, MAX_RANK + 1, (2, count)) * rng.integers(0, 2, (2, count))
    adapters = [make_adapter(shape, each.tolist(), i) for i, each in enumerate(ranks)]
    service = Service(shape, adapters, tied=bool(rng.integers(2)), seed=seed)
    sequences = [service.add(4 + 5 * i, each, i) for i, each in enumerate((0, None, 1))]
    service.step([], [(each, 4) for each in sequences])
    service.step(sequences[:1], [(each, each.waiting) for each in sequences[1:]])
    for _ in range(6):
        service.step(sequences)
    service.check(*sequences)


# No deadline: the first examples on a GPU compile kernels.
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_schedule_gives_the_same_tokens(data: st.DataObject) -> None:
    service = Service(adapters=ADAPTERS)
    adapter = st.sampled_from([None, 0, 1, 2, 3])
    sequences = [
        service.add(data.draw(st.integers(1, 24)), data.draw(adapter), seed)
        for seed in range(data.draw(st.integers(1, 5)))
    ]
    for _ in range(10):
        unfinished = [each for each in sequences if len(each.tokens) < 6]
        picked = data.draw(st.lists(st.sampled_from(unfinished), unique_by=id, min_size=1))
        chunks = [
            (each, data.draw(st.integers(1, each.waiting))) for each in picked if each.waiting
        ]
        service.step([each for each in picked if not each.waiting], chunks)
        if all(len(each.tokens) == 6 for each in sequences):
            break
    service.check(*(each for each in sequences if each.tokens))


@pytest.mark.parametrize("seed", range(2))
def test_adapters_that_come_and_go_between_steps_change_no_token(seed: int) -> None:
    """200 steps at random. Pages of adapters become KV and the other way round, and an upload is
    seldom over when the next step, of others, begins."""
    adapters = [*ADAPTERS, same_rank(TINY, 29, seed=5), same_rank(TINY, 8, seed=6)]
    service = Service(adapters=adapters)
    rng = np.random.default_rng(seed)
    resident = set(range(len(adapters)))
    serving: list[Served] = []
    finished: list[Served] = []
    steps = uploads = 0
    while steps < 200:
        for adapter in rng.integers(len(adapters), size=rng.integers(4)).tolist():
            if adapter in resident:
                service.pool.unload(service.slots[adapter])
            else:
                service.slots[adapter] = service.pool.load(service.packed[adapter])
                uploads += 1
            resident ^= {adapter}
        if len(serving) < service.engine.limits.max_num_seqs and rng.random() < 0.5:
            of = int(rng.integers(-1, len(adapters)))
            prompt = int(rng.integers(1, MAX_MODEL_LEN // 2))
            serving.append(service.add(prompt, None if of < 0 else of, int(rng.integers(2**32))))
        serving = [serving[i] for i in rng.permutation(len(serving))]
        ready = [each for each in serving if each.adapter is None or each.adapter in resident]
        picked = [each for each in ready if rng.random() < 0.8]
        decodes = [each for each in picked if not each.waiting]
        # About half of the steps are of decodes alone, which a GPU replays.
        chunks = [
            (each, int(rng.integers(1, each.waiting + 1)))
            for each in (picked if rng.random() < 0.5 else [])
            if each.waiting
        ]
        if not decodes and not chunks:
            continue
        service.step(decodes, chunks)
        steps += 1
        for each in [each for each in decodes if len(each.tokens) >= 12]:
            service.pool.release_blocks(each.blocks, KV)
            serving.remove(each)
            finished.append(each)
    service.pool.check()
    service.check(*finished, *(each for each in serving if each.tokens))
    assert uploads > 50
    assert len(finished) > 30
    assert len(service.engine._graphs) >= 4 or DEVICE.type == "cpu"


def test_replayed_padded_steps_give_the_same_tokens(padding: Service) -> None:
    sequences = [
        padding.add(3 + 2 * i, each, i) for i, each in enumerate([None, 0, 1, 2, 3, None, 2])
    ]
    padding.step([], [(each, each.waiting) for each in sequences])
    for batch in (7, 5, 3, 1, 6, 7, 2, 4, 3):
        padding.step(sequences[-batch:])
    for batch in (1, 2, 1):  # without adapters
        padding.step([sequences[0], sequences[5]][:batch])
    padding.check(*sequences)
    # 1, 2, 4 and 8 with adapters, 1 and 2 without.
    assert ReplayedStep.made == 6


def test_padding_is_kept_nowhere(padding: Service) -> None:
    sequences = [padding.add(6, each, i) for i, each in enumerate([1, None, 2, 3, 0])]
    padding.step([], [(each, 6) for each in sequences])
    padding.step(sequences)
    before = padding.pool.pages.view(torch.int32).clone()
    padding.step(sequences[3:] + sequences[:2] + sequences[2:3])
    changed = (padding.pool.pages.view(torch.int32) != before).any(dim=1).nonzero().flatten()
    own = set[int]().union(*(padding.rows_of(each, range(7, 8)) for each in sequences))
    assert set(changed.tolist()) == own
    padding.check(*sequences)


@pytest.mark.parametrize("padded", [2, 3, 6])
def test_steps_with_chunks_may_be_padded_too(padded: int) -> None:
    service = Service(adapters=ADAPTERS)
    a, b, c, d = (service.add(5 + i, each, i) for i, each in enumerate([2, None, 0, 1]))
    service.step([], [(a, 5), (b, 6), (c, 2)])
    decodes = [service.part(each, each.tokens) for each in (a, b)]
    chunks = [service.part(c, c.prompt[2:]), service.part(d, d.prompt)]
    tokens = padded + sum(len(each.tokens) for each in chunks)
    service.pool.flush_tables()
    with torch.inference_mode():
        said = service.model.logits(
            InputBuffer(8, 32, 16, BLOCK_TOKENS, DEVICE).fill(decodes, chunks, padded),
            LoraBatch(tokens, len(service.pool.tables.rank), MAX_RANK, TINY, DEVICE),
            service.engine._workspace,
            max_query_len=8,
        )
    rows = (*said[:2], *said[padded:])
    for sequence, row in zip((a, b, c, d), rows, strict=True):
        adapter = BASE if sequence.adapter is None else ADAPTERS[sequence.adapter]
        whole = sequence.prompt + sequence.tokens
        assert_close(row, reference_logits(TINY, service.weights, whole, adapter)[-1])


def test_next_tokens_are_of_the_type_that_steps_are_made_of() -> None:
    service = Service()
    part = service.part(service.add(3), [1, 2, 3])
    assert service.engine.run([], [part]).dtype == part.tokens.dtype


def test_the_reference_sees_no_later_token() -> None:
    weights = Service().weights
    tokens = [5, 9, 2, 44]
    whole = reference_logits(TINY, weights, tokens, ADAPTERS[0])
    for length in (1, 3):
        part = reference_logits(TINY, weights, tokens[:length], ADAPTERS[0])
        assert_close(part, whole[:length])
    following, logits = greedy(TINY, weights, tokens, 2, ADAPTERS[0])
    assert following[0] == int(whole[-1].argmax())
    assert logits.shape == (2, TINY.vocab_size)
