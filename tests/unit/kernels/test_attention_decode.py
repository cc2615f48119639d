"""Decode attention against the float64 reference, whatever lies around its pages."""

from __future__ import annotations

import pytest
import torch

from kernels.reference import attention as reference
from kernels.shapes import ModelShape
from kernels.triton_ops.attention_decode import WANTED_PROGRAMS, _splits, decode_workspace
from tests.unit.kernels.paging import BACKENDS, DTYPES, Backend, PagedKv, assert_close

# numpy, in Triton's interpreter, says so when -inf is taken from -inf; what comes of it is masked.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in sub:RuntimeWarning")


def shape_of(heads: int, kv_heads: int, head_dim: int) -> ModelShape:
    return ModelShape(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=64,
    )


def decode(
    backend: Backend,
    context_lens: list[int],
    heads: int,
    kv_heads: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device,
    block_tokens: int = 16,
    spare_blocks: int = 2,
    seed: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the backend gives and what it should."""
    rng = torch.Generator().manual_seed(seed)
    kv = PagedKv.random(
        context_lens, kv_heads, head_dim, dtype, rng, block_tokens, spare_blocks=spare_blocks
    )
    # As in the engine, queries are a part of wider rows.
    width = (heads + 2 * kv_heads) * head_dim
    qkv = torch.full((len(context_lens), width), float("nan"), dtype=dtype)
    q = qkv[:, : heads * head_dim].view(-1, heads, head_dim)
    q.copy_(torch.randn(q.shape, generator=rng))
    lens = torch.tensor(context_lens, dtype=torch.int32)
    expected = reference.paged_decode(q, kv.pages, kv.block_pages, kv.layer, kv.block_table, lens)

    on = kv.to(device)
    out = torch.full(q.shape, float("nan"), dtype=dtype, device=device)
    max_blocks = on.block_table.shape[1]
    workspace = backend.decode_workspace(
        len(context_lens), shape_of(heads, kv_heads, head_dim), max_blocks, block_tokens, device
    )
    workspace.fill_(float("nan"))
    q = qkv.to(device)[:, : heads * head_dim].view(-1, heads, head_dim)
    backend.paged_decode(
        q, on.pages, on.block_pages, on.layer, on.block_table, lens.to(device), out, workspace
    )
    return out, expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"),
    [
        pytest.param(8, 2, 64, id="group-of-4"),
        pytest.param(14, 2, 48, id="group-of-7-head-dim-48"),
        pytest.param(3, 3, 80, id="a-kv-head-each-head-dim-80"),
        pytest.param(20, 1, 32, id="group-of-20"),
        pytest.param(4, 2, 8, id="head-dim-8"),
        pytest.param(2, 1, 256, id="head-dim-256"),
    ],
)
def test_any_heads_and_contexts_agree_with_the_reference(
    backend: Backend,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    device: torch.device,
) -> None:
    out, expected = decode(
        backend, [1, 16, 17, 203, 64, 57], heads, kv_heads, head_dim, dtype, device
    )
    assert_close(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block_tokens", [1, 8, 24, 256])
def test_blocks_of_any_size_agree_with_the_reference(
    backend: Backend, block_tokens: int, device: torch.device
) -> None:
    out, expected = decode(
        backend, [200, 1, 24, 130], 4, 2, 16, torch.float32, device, block_tokens
    )
    assert_close(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_padding_come_out_zero(backend: Backend, device: torch.device) -> None:
    out, expected = decode(backend, [5, 0, 40, 0], 4, 2, 16, torch.float32, device)
    assert_close(out, expected)
    assert not out[[1, 3]].any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("context_lens", [[1100, 257, 0, 1], [700, 128, 129, 1023]])
def test_split_contexts_agree_with_the_reference(
    backend: Backend, dtype: torch.dtype, context_lens: list[int], device: torch.device
) -> None:
    # Room in the table for contexts longer than any here: splits are many, and some are empty.
    assert _splits(4, 2, 2048) == 8
    out, expected = decode(
        backend, context_lens, 6, 2, 16, dtype, device, spare_blocks=128 - max(context_lens) // 16
    )
    assert_close(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_scores_neither_overflow_nor_vanish(backend: Backend, device: torch.device) -> None:
    rng = torch.Generator().manual_seed(1)
    kv = PagedKv.random([90], 1, 16, torch.float32, rng)
    q = 1e4 * torch.randn(1, 2, 16, generator=rng)
    lens = torch.tensor([90], dtype=torch.int32)
    expected = reference.paged_decode(q, kv.pages, kv.block_pages, kv.layer, kv.block_table, lens)
    on, out = kv.to(device), torch.full_like(q, float("nan"), device=device)
    workspace = backend.decode_workspace(1, shape_of(2, 1, 16), 8, 16, device)
    backend.paged_decode(
        q.to(device), on.pages, on.block_pages, on.layer, on.block_table, lens.to(device),
        out, workspace,
    )  # fmt: skip
    assert_close(out, expected)


def test_few_sequences_are_split_until_the_gpu_is_full() -> None:
    assert _splits(1, 8, 131_072) == 64  # 512 programs; 32 splits would make 256 of 264
    assert _splits(33, 8, 131_072) == 1
    assert _splits(1, 8, 255) == _splits(1, 8, 511) == 1
    assert _splits(1, 8, 512) == 2


def test_one_workspace_serves_batches_of_every_size() -> None:
    shape = shape_of(8, 2, 64)
    workspace = decode_workspace(300, shape, 4096, 16, torch.device("cpu"))
    for sequences in range(1, 301):
        splits = _splits(sequences, 2, 4096 * 16)
        needed = sequences * splits * 8 * 65 if splits > 1 else 0
        assert needed <= workspace.numel()
        assert splits * sequences * 2 < 2 * WANTED_PROGRAMS or splits == 1
