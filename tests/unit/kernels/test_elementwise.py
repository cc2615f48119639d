"""Rotary positions and the writing of K and V, RMSNorm and the gated activation."""

from __future__ import annotations

import pytest
import torch

from kernels.reference import attention, elementwise
from kernels.rope import rotary_table
from tests.unit.kernels.paging import BACKENDS, DTYPES, Backend, assert_close

# numpy, in Triton's interpreter, says so when an exponential overflows, as it may.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "block_tokens"),
    [(8, 2, 64, 16), (7, 1, 48, 1), (2, 2, 8, 24), (1, 1, 16, 256)],
)
def test_q_is_rotated_and_k_and_v_reach_their_pages(
    backend: Backend,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    block_tokens: int,
    device: torch.device,
) -> None:
    rng = torch.Generator().manual_seed(heads)
    tokens, layers, layer, blocks = 9, 3, 1, 11
    slots = torch.randperm(blocks * block_tokens, generator=rng)[:tokens]
    slots[torch.tensor([0, 5])] = -1  # padding, or K and V that are there already
    count = blocks * layers * 2 * block_tokens
    block_pages = torch.randperm(count + 5, generator=rng)[:count].int()
    block_pages = block_pages.view(blocks, layers, 2, block_tokens)
    before = torch.randn(count + 5, kv_heads * head_dim, generator=rng).to(dtype)
    positions = torch.tensor([0, 1, 2, 99, 7, 5, 99, 50, 3], dtype=torch.int32)
    angles = 6.3 * torch.rand(100, head_dim // 2, generator=rng)
    cos_sin = torch.cat([angles.cos(), angles.sin()], dim=1)
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * head_dim, generator=rng).to(dtype)
    expected_qkv, expected_pages = attention.rotary_kv_write(
        qkv, positions, cos_sin, before, block_pages, layer, slots
    )

    actual, pages = qkv.clone().to(device), before.clone().to(device)
    backend.rotary_kv_write(
        actual, positions.to(device), cos_sin.to(device), pages, block_pages.to(device),
        layer, slots.to(device),
    )  # fmt: skip
    q_dim = heads * head_dim
    assert_close(actual[:, :q_dim], expected_qkv[:, :q_dim])
    assert torch.equal(actual[:, q_dim:].cpu(), qkv[:, q_dim:])
    assert_close(pages, expected_pages)
    kept = slots[slots >= 0]
    written = block_pages[kept // block_tokens, layer, :, kept % block_tokens]
    untouched = torch.ones(len(before), dtype=torch.bool)
    untouched[written.flatten()] = False
    assert torch.equal(pages.cpu()[untouched], before[untouched])
    values = qkv[slots >= 0, q_dim + kv_heads * head_dim :]
    assert torch.equal(pages.cpu()[written[:, 1]], values)  # to the bit


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_depend_on_the_distance_of_positions_alone(
    backend: Backend, device: torch.device
) -> None:
    head_dim = 32
    table = rotary_table(head_dim, 200, 10_000.0, None, device)
    rng = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, head_dim, generator=rng)
    qkv = torch.cat([q, k, torch.zeros(head_dim)]).repeat(4, 1).to(device)
    positions = torch.tensor([30, 10, 199, 179], dtype=torch.int32, device=device)
    pages = torch.zeros(8, head_dim, device=device)
    block_pages = torch.arange(8, dtype=torch.int32, device=device).view(1, 1, 2, 4)
    slots = torch.arange(4, device=device)
    backend.rotary_kv_write(qkv, positions, table, pages, block_pages, 0, slots)
    near, far = qkv[0, :head_dim] @ pages[1], qkv[2, :head_dim] @ pages[3]
    assert near.item() == pytest.approx(far.item(), rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [16, 48, 176, 1024, 5120])
def test_rms_norm_agrees_with_the_reference(
    backend: Backend, dtype: torch.dtype, width: int, device: torch.device
) -> None:
    rng = torch.Generator().manual_seed(width)
    x = 3 * torch.randn(5, width, generator=rng).to(dtype)
    x[2] = 0  # a row that eps alone keeps from NaN
    weight = torch.randn(width, generator=rng).to(dtype)
    out = torch.full_like(x, float("nan"), device=device)
    given = x.clone().to(device)
    backend.rms_norm(given, weight.to(device), 1e-5, out, None)
    assert_close(out, elementwise.rms_norm(x, weight, 1e-5))
    assert torch.equal(given.cpu(), x)
    backend.rms_norm(given, weight.to(device), 1e-5, given, None)
    assert torch.equal(given, out)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_adds_to_the_residual_first(
    backend: Backend, dtype: torch.dtype, device: torch.device
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, 80, generator=rng).to(dtype)
    residual = 50 * torch.randn(4, 80, generator=rng).to(dtype)
    weight = torch.randn(80, generator=rng).to(dtype)
    summed = residual.clone().to(device)
    out = torch.full_like(x, float("nan"), device=device)
    backend.rms_norm(x.to(device), weight.to(device), 1e-6, out, summed)
    assert torch.equal(summed.cpu(), residual + x)
    assert_close(out, elementwise.rms_norm(residual + x, weight, 1e-6))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inter", [16, 176, 1024, 2064])
def test_silu_mul_agrees_with_the_reference(
    backend: Backend, dtype: torch.dtype, inter: int, device: torch.device
) -> None:
    rng = torch.Generator().manual_seed(inter)
    gate_up = 4 * torch.randn(3, 2 * inter, generator=rng).to(dtype)
    gate_up[0, :2] = torch.tensor([-200.0, 200.0])  # whose exponentials overflow
    out = torch.full((3, inter), float("nan"), dtype=dtype, device=device)
    backend.silu_mul(gate_up.to(device), out)
    assert_close(out, elementwise.silu_mul(gate_up))
