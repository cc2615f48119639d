"""What is measured, said in the terms that durations are fitted in. How long it takes is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernels.accounts import ADAPTER, KV, PREFIX
from simlora.engine import bench as bench_module
from simlora.engine.bench import Bench, StepSize, device_facts
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.serving.batch_shape import BatchShape

MODEL = ModelSpec(
    name="tiny",
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    vocab_size=100,
    max_position_embeddings=128,
)
# Parameters of one rank: (in + out) of q, k, v, o, gate, up, down, in two layers.
A_RANK = 2 * (96 + 64 + 64 + 96 + 96 + 96 + 96)
PAGE_BYTES = 32 * 4

BASE = StepSize(decodes=3, context_tokens=20)
CHUNKS = StepSize(decodes=0, prefills=2, chunk_tokens=5, chunk_start=16)
MIXED = StepSize(4, context_tokens=10, prefills=1, chunk_tokens=7, ranks=(8, 8, 2))
FEW = StepSize(1, context_tokens=1, prefills=1, chunk_tokens=3, ranks=(4, 8, 8))
SIZES = [BASE, CHUNKS, MIXED, FEW]


@pytest.fixture(autouse=True)
def _few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_module, "LONG_ENOUGH_S", 0.0)


@pytest.fixture
def bench() -> Bench:
    return Bench(MODEL, "cpu", 1, SIZES)


def check_contexts(size: StepSize, attended: int) -> None:
    """Raises AssertionError unless so many tokens attended are of contexts of that size."""
    assert size.decodes <= attended
    assert 0.5 * size.context_tokens <= attended / size.decodes <= 1.5 * size.context_tokens + 1


def test_decodes_count_the_tokens_that_they_attend(bench: Bench) -> None:
    shape, times = bench.step(BASE)
    check_contexts(BASE, shape.decode_attended_tokens)
    assert shape == BatchShape(decode_seqs=3, decode_attended_tokens=shape.decode_attended_tokens)
    assert 0 < times.p10_s <= times.median_s <= times.p90_s
    assert times.repeats == bench_module.LEAST_REPEATS


def test_a_chunks_tokens_attend_what_was_computed_and_themselves(bench: Bench) -> None:
    shape, _ = bench.step(CHUNKS)
    assert shape == BatchShape(
        prefill_tokens=10,
        prefill_seqs=2,
        prefill_attended_tokens=2 * (17 + 18 + 19 + 20 + 21),
    )


def test_adapters_take_turns_over_the_sequences(bench: Bench) -> None:
    shape, _ = bench.step(MIXED)
    check_contexts(MIXED, shape.decode_attended_tokens)
    # Ranks 8, 8, 2, 8 in decode and 8, the second of them, for the chunk.
    assert shape == BatchShape(
        prefill_tokens=7,
        prefill_seqs=1,
        prefill_attended_tokens=1 + 2 + 3 + 4 + 5 + 6 + 7,
        decode_seqs=4,
        decode_attended_tokens=shape.decode_attended_tokens,
        lora_tokens=4 + 7,
        lora_token_parameters=A_RANK * (8 + 8 + 2 + 8 + 7 * 8),
        distinct_adapters=3,
        distinct_adapter_parameters=A_RANK * (8 + 8 + 2),
    )


def test_adapters_without_a_sequence_do_not_count(bench: Bench) -> None:
    shape, _ = bench.step(FEW)
    assert shape.distinct_adapters == 2
    assert shape.distinct_adapter_parameters == A_RANK * (4 + 8)
    assert shape.lora_tokens == 1 + 3
    assert shape.lora_token_parameters == A_RANK * (4 + 3 * 8)


def test_measuring_loses_no_page(bench: Bench, tmp_path: Path) -> None:
    pool, slots = bench.pool, 4  # of rank 8 two at once, of 2 and 4 one
    held = list(pool.accounts.held)
    assert held[KV] == held[PREFIX] == 0
    # All widths are multiples of a page's 32 elements.
    assert held[ADAPTER] == A_RANK * (8 + 8 + 2 + 4) // 32
    for size in SIZES:
        bench.step(size)
    for rank in (2, 8):
        bench.copies(rank, tmp_path)
    pool.check()
    assert list(pool.accounts.held) == held
    assert sum(len(each) for each in bench._slots.values()) == slots
    for size in SIZES:  # and the adapters that made room are back
        bench.step(size)
    assert list(tmp_path.iterdir()) == []


def test_copies_are_of_an_adapters_pages_and_of_its_file(bench: Bench, tmp_path: Path) -> None:
    found = bench.copies(8, tmp_path)
    assert found.keys() == {"upload", "file"}  # pinned and pageable are for GPUs
    nbytes, times = found["upload"]
    assert nbytes == A_RANK * 8 * 4 == PAGE_BYTES * A_RANK * 8 // 32
    assert times.repeats == bench_module.LEAST_REPEATS
    size, _ = found["file"]
    header = 2 * 7 * 2 * 200  # names, types and shapes of as many matrices
    assert nbytes < size < nbytes + header


def test_sizes_without_adapters_need_none() -> None:
    bench = Bench(MODEL, "cpu", 1, [BASE])
    assert bench.pool.accounts.held[ADAPTER] == 0
    assert bench.step(BASE)[0].lora_tokens == 0


def test_one_gpus_share_computes_its_part_of_adapters_that_count_whole() -> None:
    size = StepSize(2, context_tokens=4, ranks=(8,))
    bench = Bench(MODEL, "cpu", 2, [size])
    assert (bench.shape.num_attention_heads, bench.shape.intermediate_size) == (2, 32)
    shape, _ = bench.step(size)
    assert shape.distinct_adapter_parameters == A_RANK * 8


def test_a_model_that_cannot_be_split_is_named() -> None:
    with pytest.raises(UserError, match=r"tiny: num_attention_heads \(4\) cannot be split"):
        Bench(MODEL, "cpu", 3, [BASE])
    narrow = MODEL.model_copy(update={"hidden_size": 24})
    with pytest.raises(UserError, match="tiny: hidden_size must be a multiple of 16, not 24"):
        Bench(narrow, "cpu", 1, [BASE])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(UserError, match="torch sees no GPU here; --device cpu measures the CPU"):
        Bench(MODEL, "cuda", 1, [BASE])


def test_measurements_say_what_they_were_taken_on() -> None:
    facts = device_facts("cpu")
    assert facts["torch"] == torch.__version__
    assert facts["device"]
