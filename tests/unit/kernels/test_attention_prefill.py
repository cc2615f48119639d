"""Prefill attention against the float64 reference, for chunks anywhere in their contexts."""

from __future__ import annotations

import pytest
import torch

from kernels.reference import attention as reference
from tests.unit.kernels.paging import BACKENDS, DTYPES, Backend, PagedKv, assert_close


def prefill(
    backend: Backend,
    chunks: list[tuple[int, int]],  # (new tokens, tokens before them) of each sequence
    heads: int,
    kv_heads: int,
    head_dim: int,
    dtype: torch.dtype,
    device: torch.device,
    block_tokens: int = 16,
    seed: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the backend gives and what it should."""
    rng = torch.Generator().manual_seed(seed)
    context_lens = [new + before for new, before in chunks]
    kv = PagedKv.random(context_lens, kv_heads, head_dim, dtype, rng, block_tokens)
    bounds = torch.tensor([0] + [new for new, _ in chunks]).cumsum(0).int()
    width = (heads + 2 * kv_heads) * head_dim
    qkv = torch.full((int(bounds[-1]), width), float("nan"), dtype=dtype)
    q = qkv[:, : heads * head_dim].view(-1, heads, head_dim)
    q.copy_(torch.randn(q.shape, generator=rng))
    lens = torch.tensor(context_lens, dtype=torch.int32)
    expected = reference.paged_prefill(
        q, kv.pages, kv.block_pages, kv.layer, kv.block_table, lens, bounds
    )

    on = kv.to(device)
    out = torch.full(q.shape, float("nan"), dtype=dtype, device=device)
    q = qkv.to(device)[:, : heads * head_dim].view(-1, heads, head_dim)
    backend.paged_prefill(
        q, on.pages, on.block_pages, on.layer, on.block_table, lens.to(device),
        bounds.to(device), max(new for new, _ in chunks), out,
    )  # fmt: skip
    return out, expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"),
    [
        pytest.param(8, 2, 64, id="group-of-4"),
        pytest.param(14, 2, 48, id="group-of-7-head-dim-48"),
        pytest.param(2, 2, 80, id="a-kv-head-each-head-dim-80"),
        pytest.param(20, 1, 32, id="group-of-20"),
        pytest.param(2, 1, 256, id="head-dim-256"),
    ],
)
def test_any_heads_and_chunks_agree_with_the_reference(
    backend: Backend,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    device: torch.device,
) -> None:
    chunks = [(40, 0), (1, 0), (9, 130), (17, 31)]
    out, expected = prefill(backend, chunks, heads, kv_heads, head_dim, dtype, device)
    assert_close(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("block_tokens", [1, 8, 24, 256])
def test_blocks_of_any_size_agree_with_the_reference(
    backend: Backend, block_tokens: int, device: torch.device
) -> None:
    chunks = [(17, 100), (48, 0), (3, 24)]
    out, expected = prefill(backend, chunks, 4, 2, 16, torch.float32, device, block_tokens)
    assert_close(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sequences_without_new_tokens_are_passed_over(
    backend: Backend, device: torch.device
) -> None:
    chunks = [(0, 40), (9, 3), (0, 0), (5, 0), (0, 0)]
    out, expected = prefill(backend, chunks, 4, 2, 16, torch.float32, device)
    assert_close(out, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_sees_nothing_after_itself(backend: Backend, device: torch.device) -> None:
    """Changing later tokens' K and V changes no earlier query's output."""
    chunk, before = 70, 30
    rng = torch.Generator().manual_seed(0)
    kv = PagedKv.random([before + chunk], 1, 16, torch.float32, rng).to(device)
    q = torch.randn(chunk, 2, 16, generator=rng).to(device)
    lens = torch.tensor([before + chunk], dtype=torch.int32, device=device)
    bounds = torch.tensor([0, chunk], dtype=torch.int32, device=device)

    def run() -> torch.Tensor:
        out = torch.full_like(q, float("nan"))
        backend.paged_prefill(
            q, kv.pages, kv.block_pages, kv.layer, kv.block_table, lens, bounds, chunk, out
        )
        return out

    first = run()
    changed = before + 41  # of token 71, whose query is row 41
    for token in range(changed, before + chunk):
        for kind in (0, 1):
            page = reference.page_of(kv.block_pages, kv.block_table[0], kv.layer, kind, token)
            kv.pages[page] = 9.0
    second = run()
    assert torch.equal(first[:41], second[:41])
    assert (first[41:] != second[41:]).any(dim=2).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chunk_gives_what_single_steps_give(backend: Backend, device: torch.device) -> None:
    chunk, before = 21, 50
    rng = torch.Generator().manual_seed(3)
    kv = PagedKv.random([before + chunk], 2, 16, torch.float32, rng).to(device)
    q = torch.randn(chunk, 4, 16, generator=rng).to(device)
    together = torch.full_like(q, float("nan"))
    backend.paged_prefill(
        q, kv.pages, kv.block_pages, kv.layer, kv.block_table,
        torch.tensor([before + chunk], dtype=torch.int32, device=device),
        torch.tensor([0, chunk], dtype=torch.int32, device=device), chunk, together,
    )  # fmt: skip
    alone = torch.full_like(q, float("nan"))
    lens = torch.arange(before + 1, before + chunk + 1, dtype=torch.int32, device=device)
    backend.paged_decode(
        q, kv.pages, kv.block_pages, kv.layer, kv.block_table.expand(chunk, -1).contiguous(),
        lens, alone, torch.empty(0, device=device),
    )  # fmt: skip
    assert_close(together, alone.double())
