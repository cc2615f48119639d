"""Batched LoRA: both backends against float64, over adapters of all ranks in scattered pages."""

from __future__ import annotations

from types import ModuleType

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from kernels import torch_ops, triton_ops
from kernels.reference.lora import apply_lora, partial_sums
from kernels.shapes import GROUPS, MODULES, ModelShape
from kernels.triton_ops import lora_configs
from tests.unit.kernels.adapters import (
    ODD,
    WIDE,
    Pool,
    lora_error,
    make_pool,
    new_batch,
    random_adapter,
    run_lora,
)

# Triton's interpreter knows no bfloat16; a GPU computes float32 elsewhere than in its tensor cores.
ON_GPU = torch.cuda.is_available()
DTYPES = (torch.float16, torch.bfloat16) if ON_GPU else (torch.float32, torch.float16)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 2e-3}
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
# Pages of 512 elements that divide all widths, as in large models.
LARGE = ModelShape(512, 1536, 1, 4, 4, 128, 100)
PREFILL = 600  # spare tokens that make a batch one of prefill

backends = pytest.mark.parametrize("ops", [torch_ops, triton_ops], ids=["torch", "triton"])


def random_pool(
    shape: ModelShape, adapters: int, max_rank: int, dtype: torch.dtype, seed: int
) -> tuple[Pool, torch.Generator]:
    """Adapters whose modules have ranks of their own, from 0 to max_rank."""
    generator = torch.Generator().manual_seed(seed)
    modules = shape.num_hidden_layers * len(MODULES)
    ranks = torch.randint(0, max_rank + 1, (adapters, modules), generator=generator).tolist()
    made = [random_adapter(shape, each, generator, dtype) for each in ranks]
    return make_pool(shape, made, dtype, DEVICE, generator), generator


@backends
@pytest.mark.parametrize(
    ("shape", "dtype"), [(ODD, DTYPES[0]), (WIDE, DTYPES[1])], ids=["odd", "wide"]
)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("spare_tokens", [0, PREFILL], ids=["decode", "prefill"])
def test_each_token_gets_its_own_adapters_product(
    ops: ModuleType, shape: ModelShape, dtype: torch.dtype, group: str, spare_tokens: int
) -> None:
    pool, generator = random_pool(shape, 3, 40, dtype, seed=7)
    slots = [2, -1, 0, 0, 2, 2, -1]
    error = lora_error(ops, pool, slots, 1, group, 40, generator, spare_tokens)
    assert error < TOLERANCE[dtype]


@backends
@pytest.mark.parametrize("spare_tokens", [0, PREFILL], ids=["decode", "prefill"])
def test_tiles_of_one_adapter_cover_its_splits_columns_and_ranks(
    ops: ModuleType, spare_tokens: int
) -> None:
    pool, generator = random_pool(LARGE, 3, 128, DTYPES[0], seed=0)
    for group in ("qkv", "down"):
        error = lora_error(ops, pool, [0] * 18, 0, group, 128, generator, spare_tokens)
        assert error < TOLERANCE[DTYPES[0]]


@pytest.mark.parametrize("spare_tokens", [0, PREFILL], ids=["decode", "prefill"])
@pytest.mark.parametrize("many_programs", [1, 20])
def test_large_steps_give_each_program_more_columns_and_ranks(
    monkeypatch: pytest.MonkeyPatch, spare_tokens: int, many_programs: int
) -> None:
    monkeypatch.setattr(lora_configs, "ENOUGH_PROGRAMS", 1)
    monkeypatch.setattr(lora_configs, "MANY_PROGRAMS", many_programs)
    pool, generator = random_pool(LARGE, 2, 100, DTYPES[0], seed=1)
    batch = new_batch(4 + spare_tokens, pool, 100)
    assert lora_configs.expand_config(batch, "down").columns == 512
    assert lora_configs.shrink_config(batch, "down").rank_programs < 7
    for group in ("o", "down"):
        error = lora_error(triton_ops, pool, [1, 0, 1, 1], 0, group, 100, generator, spare_tokens)
        assert error < TOLERANCE[DTYPES[0]]


@pytest.mark.parametrize(
    ("ops", "examples"), [(torch_ops, 60), (triton_ops, 10)], ids=["torch", "triton"]
)
def test_any_mix_of_ranks_and_tokens(ops: ModuleType, examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.data())
    def any_mix(data: st.DataObject) -> None:
        adapters = data.draw(st.integers(0, 64 if ops is torch_ops else 3), label="adapters")
        seed = data.draw(st.integers(0, 99), label="seed")
        tokens = data.draw(
            st.lists(st.integers(-1, adapters - 1), min_size=1, max_size=24), label="slots"
        )
        max_rank = data.draw(st.sampled_from([1, 5, 16, 17, 64, 128]), label="max_rank")
        group = data.draw(st.sampled_from(list(GROUPS)), label="group")
        shape = data.draw(st.sampled_from([ODD, WIDE]), label="shape")
        spare = data.draw(st.sampled_from([0, 3, PREFILL]), label="spare_tokens")
        pool, generator = random_pool(shape, adapters, max_rank, DTYPES[0], seed)
        error = lora_error(ops, pool, tokens, 1, group, max_rank, generator, spare)
        assert error < TOLERANCE[DTYPES[0]]

    any_mix()


@backends
def test_shrink_leaves_the_sums_in_planes_by_module_and_rank(ops: ModuleType) -> None:
    pool, generator = random_pool(WIDE, 2, 20, torch.float32, seed=3)
    slots = [1, -1, 0, 1]
    batch = new_batch(len(slots), pool, 20)
    x = torch.randn(4, batch.cuts["down"].inner, generator=generator).to(DEVICE)
    ops.prepare_lora(torch.tensor(slots, dtype=torch.int32, device=DEVICE), batch)
    ops.shrink(x, pool.pages, pool.tables, batch, 0, "down")
    planes = batch.planes("down").double().sum(0).cpu()
    expected = partial_sums(x, pool.group(0, "down"), slots)
    for place, token in enumerate(batch.order.tolist()):
        for sums in expected[token]:
            assert sums is not None
            torch.testing.assert_close(planes[place, : len(sums)], sums, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("max_rank", [1, 16, 40])
@pytest.mark.parametrize("spare_tokens", [0, PREFILL], ids=["decode", "prefill"])
def test_ranks_above_the_batch_s_write_to_no_columns_but_their_own(
    spare_tokens: int, max_rank: int
) -> None:
    pool, generator = random_pool(WIDE, 2, 0, torch.float32, seed=3)
    ranks = [100] * (2 * len(MODULES))
    large = [random_adapter(WIDE, ranks, generator, torch.float32) for _ in range(2)]
    pool = make_pool(WIDE, large, torch.float32, DEVICE, generator)
    slots = [1, 0, 1]
    batch = new_batch(len(slots) + spare_tokens, pool, max_rank)
    after = batch.planes("qkv").numel()
    batch.partial = torch.full((after + 1000,), float("nan"), device=DEVICE)
    x = torch.randn(3, batch.cuts["qkv"].inner, generator=generator).to(DEVICE)
    triton_ops.prepare_lora(torch.tensor(slots, dtype=torch.int32, device=DEVICE), batch)
    triton_ops.shrink(x, pool.pages, pool.tables, batch, 0, "qkv")
    assert batch.partial[after:].isnan().all()
    planes = batch.planes("qkv")
    assert planes[:, len(slots) :].isnan().all()
    expected = partial_sums(x, pool.group(0, "qkv"), slots)
    columns = batch.rank_columns
    for place, token in enumerate(batch.order.tolist()[: len(slots)]):
        for module, sums in enumerate(expected[token]):
            assert sums is not None
            own = planes[:, place, module * columns :][:, :columns].double().sum(0).cpu()
            torch.testing.assert_close(own, sums[:columns], rtol=1e-4, atol=1e-4)


def test_torch_refuses_ranks_above_the_batch_s_and_writes_nothing() -> None:
    pool, generator = random_pool(WIDE, 1, 0, torch.float32, seed=3)
    ranks = [4, 17, *[4] * (2 * len(MODULES) - 2)]
    adapter = random_adapter(WIDE, ranks, generator, torch.float32)
    pool = make_pool(WIDE, [adapter], torch.float32, DEVICE, generator)
    batch = new_batch(1, pool, 16)
    torch_ops.prepare_lora(torch.zeros(1, dtype=torch.int32, device=DEVICE), batch)
    x = torch.randn(1, batch.cuts["qkv"].inner, generator=generator).to(DEVICE)
    with pytest.raises(ValueError, match="rank 17, but the batch was made for at most 16"):
        torch_ops.shrink(x, pool.pages, pool.tables, batch, 0, "qkv")
    assert batch.partial.isnan().all()


@backends
def test_tokens_without_adapter_keep_every_bit(ops: ModuleType) -> None:
    pool, generator = random_pool(ODD, 1, 16, DTYPES[1], seed=1)
    batch = new_batch(5, pool, 16)
    y = torch.randn(5, sum(batch.cuts["o"].outer), generator=generator).to(DEVICE, DTYPES[1])
    before = y.clone()
    x = torch.full((5, batch.cuts["o"].inner), float("nan")).to(y)
    x[2] = 1.0
    run_lora(ops, x, y, pool, batch, [-1, -1, 0, -1, -1], 1, "o")
    others = [0, 1, 3, 4]
    assert torch.equal(y[others], before[others])
    assert torch.isfinite(y[2]).all()
    assert not torch.equal(y[2], before[2])


@backends
def test_rows_may_be_parts_of_wider_ones(ops: ModuleType) -> None:
    pool, generator = random_pool(WIDE, 2, 16, DTYPES[0], seed=2)
    slots = [0, 1, 1]
    batch = new_batch(3, pool, 16)
    cut = batch.cuts["qkv"]
    x = torch.randn(3, cut.inner + 64, generator=generator).to(DEVICE, DTYPES[0])[:, 64:]
    wide = torch.randn(3, sum(cut.outer) + 64, generator=generator).to(DEVICE, DTYPES[0])
    y, outside = wide[:, :-64], wide[:, -64:].clone()
    expected = apply_lora(x, y, cut.outer, pool.group(0, "qkv"), slots)
    run_lora(ops, x, y, pool, batch, slots, 0, "qkv")
    error = (y.double().cpu() - expected).abs().max() / expected.abs().max()
    assert error < TOLERANCE[DTYPES[0]]
    assert torch.equal(wide[:, -64:], outside)


@backends
def test_a_batch_is_used_again_and_gives_the_same_bits(ops: ModuleType) -> None:
    pool, generator = random_pool(ODD, 3, 33, DTYPES[1], seed=5)
    batch = new_batch(6, pool, 33)
    cut = batch.cuts["gate_up"]
    x = torch.randn(6, cut.inner, generator=generator).to(DEVICE, DTYPES[1])
    start = torch.randn(6, sum(cut.outer), generator=generator).to(DEVICE, DTYPES[1])
    results = []
    for slots in ([0, 1, 2, 0, 1, 2], [2, 2, -1, 2, 2, 2], [0, 1, 2, 0, 1, 2]):
        y = start.clone()
        run_lora(ops, x, y, pool, batch, slots, 0, "gate_up")
        results.append(y)
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


def test_backends_can_be_mixed() -> None:
    pool, generator = random_pool(WIDE, 2, 16, DTYPES[0], seed=4)
    mixed = ModuleType("mixed")
    for prepare, shrink, expand in (
        (torch_ops, triton_ops, torch_ops),
        (triton_ops, torch_ops, triton_ops),
    ):
        mixed.prepare_lora = prepare.prepare_lora  # type: ignore[attr-defined]
        mixed.shrink = shrink.shrink  # type: ignore[attr-defined]
        mixed.expand = expand.expand  # type: ignore[attr-defined]
        error = lora_error(mixed, pool, [1, 0, -1, 1], 1, "down", 16, generator)
        assert error < TOLERANCE[DTYPES[0]]
