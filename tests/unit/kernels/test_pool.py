"""Pages have identities, and blocks and adapters share them without getting in each other's way.

That nothing is ever lost or overwritten, whatever the order, is a property test's to show.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import kernels.accounts
from kernels.accounts import ADAPTER, KV, PREFIX
from kernels.lora_stream import LoraModule, PackedAdapter, pack_adapter
from kernels.pool import DevicePool, NotHeld, OutOfAdapterRows
from kernels.shapes import MODULES, ModelShape
from kernels.upload import Uploads
from simlora.serving import page_pool
from simlora.serving.page_pool import OutOfPages, PagePool

SHAPE = ModelShape(
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
    vocab_size=32,
)
BLOCK_PAGES = 2 * 2 * 4  # K and V, layers, tokens


def make_pool(device: torch.device, pages: int, **sizes: Any) -> DevicePool:
    sizes = {"block_tokens": 4, "adapters": 3, "max_adapter_pages": 128, **sizes}
    return DevicePool(SHAPE, PagePool(pages), dtype=torch.float16, device=device, **sizes)


def make_weights(rank: int, seed: int = 0) -> dict[tuple[int, str], LoraModule]:
    """An adapter of that rank on every module but the first layer's MLP."""
    generator = torch.Generator().manual_seed(seed)
    return {
        (layer, name): LoraModule(
            torch.randn(rank, inner, generator=generator),
            torch.randn(outer, rank, generator=generator),
            scale=2.0 + at,
        )
        for layer in range(2)
        for at, (name, (inner, outer)) in enumerate(SHAPE.linear_shapes.items())
        if layer or at < 4
    }


def make_adapter(rank: int, seed: int = 0) -> PackedAdapter:
    return pack_adapter(SHAPE, make_weights(rank, seed), torch.float16)


def read_back(pool: DevicePool, slot: int, pages: int) -> torch.Tensor:
    pool.wait([slot])
    return pool.pages[pool.tables.page[slot, :pages].long()].cpu()


def test_owners_are_numbered_as_the_scheduler_numbers_them() -> None:
    for name in ("KV", "PREFIX", "ADAPTER"):
        assert getattr(kernels.accounts, name) == getattr(page_pool, name)


def test_the_pages_of_an_adapter_are_those_that_its_copy_went_to(device: torch.device) -> None:
    pool = make_pool(device, pages=256)
    first, second = make_adapter(rank=1, seed=1), make_adapter(rank=2, seed=2)
    pool.unload(pool.load(first))
    slots = [pool.load(second), pool.load(first)]
    for slot, packed in zip(slots, (second, first), strict=True):
        pool.wait([slot])
        held = pool.pages_of(slot)
        assert (pool.pages[torch.from_numpy(held).long().to(device)].cpu() == packed.pages).all()
        held[:] = -1  # a copy: the pool's own are as they were
        assert (pool.pages_of(slot) >= 0).all()
    pool.check()
    pool.unload(slots[0])
    with pytest.raises(NotHeld):
        pool.pages_of(slots[0])


def test_whoever_wants_copies_made_in_another_way_says_by_what() -> None:
    started: list[int] = []

    class Noted(Uploads):
        def start(self, slot: int, page_ids: torch.Tensor, packed: PackedAdapter) -> None:
            started.append(slot)
            super().start(slot, page_ids, packed)

    pool = make_pool(torch.device("cpu"), pages=256, uploads=Noted)
    packed = make_adapter(rank=2)
    slot = pool.load(packed)
    assert started == [slot]
    assert (read_back(pool, slot, len(packed.pages)) == packed.pages).all()
    pool.check()


def test_a_kernel_finds_a_and_b_of_a_resident_adapter_through_the_tables(
    device: torch.device,
) -> None:
    pool = make_pool(device, pages=256)
    weights = make_weights(rank=3)
    pool.load(make_adapter(rank=1, seed=5))
    slot = pool.load(make_adapter(rank=3))
    pool.wait([slot])
    tables = pool.tables
    for (layer, name), module in weights.items():
        at = slot, layer, MODULES.index(name)
        assert tables.rank[at] == 3
        assert tables.scale[at] == module.scale
        for start, matrix in (
            (int(tables.base[at]), module.a),
            (int(tables.base[at]) + module.a.numel(), module.b.T),
        ):
            e = torch.arange(start, start + matrix.numel(), device=device)
            found = pool.pages[tables.page[slot, e // SHAPE.kv_dim].long(), e % SHAPE.kv_dim]
            assert torch.equal(found.cpu().view(matrix.shape), matrix.half())
    assert not tables.rank[slot, 0, 4:].any()


def test_a_slot_that_is_taken_over_keeps_nothing_of_its_last_adapter(device: torch.device) -> None:
    pool = make_pool(device, pages=256, adapters=1)
    pool.unload(pool.load(make_adapter(rank=3)))
    name = "down_proj"
    inner, outer = SHAPE.linear_shapes[name]
    module = LoraModule(torch.ones(2, inner), torch.ones(outer, 2), scale=7.0)
    slot = pool.load(pack_adapter(SHAPE, {(0, name): module}, torch.float16))
    pool.wait([slot])
    assert pool.tables.rank[slot].sum() == 2
    assert pool.tables.scale[slot].sum() == 7


def test_any_free_pages_serve_anybody(device: torch.device) -> None:
    adapter = make_adapter(rank=1)
    needed = -(-len(adapter.pages) // BLOCK_PAGES)
    pool = make_pool(device, pages=2 * needed * BLOCK_PAGES)
    blocks = pool.take_blocks(2 * needed, KV)
    with pytest.raises(OutOfPages):
        pool.load(adapter)
    pool.release_blocks(blocks[::2], KV)
    slot = pool.load(adapter)
    pool.check()
    assert torch.equal(read_back(pool, slot, len(adapter.pages)), adapter.pages)
    pool.unload(slot)
    assert len(pool.take_blocks(needed, KV)) == needed
    assert pool.accounts.free == 0
    pool.check()


def test_pages_run_out_before_block_ids_do(device: torch.device) -> None:
    pool = make_pool(device, pages=5 * BLOCK_PAGES + BLOCK_PAGES - 1)
    pool.take_blocks(5, KV)
    with pytest.raises(OutOfPages):
        pool.take_blocks(1, KV)


def test_blocks_have_pages_of_their_own_once_the_tables_are_flushed(device: torch.device) -> None:
    pool = make_pool(device, pages=8 * BLOCK_PAGES)
    pool.load(make_adapter(rank=1))
    blocks = np.concatenate((pool.take_blocks(1, KV), pool.take_blocks(2, PREFIX)))
    assert not pool.block_pages.any()
    pool.flush_tables()
    rows = pool.block_pages[torch.from_numpy(blocks).long().to(device)]
    assert rows.shape == (3, 2, 2, 4)
    assert len(rows.unique()) == 3 * BLOCK_PAGES
    pool.check()


def test_a_block_taken_again_before_a_flush_has_its_last_pages(device: torch.device) -> None:
    adapter = make_adapter(rank=1)
    pool = make_pool(device, pages=4 * BLOCK_PAGES)
    first = pool.take_blocks(1, KV)
    pool.release_blocks(first, KV)
    pool.load(adapter)
    assert pool.take_blocks(1, KV) == first
    pool.flush_tables()
    pool.check()


def test_a_cached_prefix_keeps_its_pages_when_it_changes_its_owner(device: torch.device) -> None:
    pool = make_pool(device, pages=8 * BLOCK_PAGES)
    blocks = pool.take_blocks(4, KV)
    pool.flush_tables()
    before = pool.block_pages.clone()
    pool.transfer_blocks(blocks[:3], KV, PREFIX)
    pool.flush_tables()
    assert torch.equal(pool.block_pages, before)
    assert pool.accounts.held == [BLOCK_PAGES, 3 * BLOCK_PAGES, 0]
    with pytest.raises(NotHeld, match="owner 0 does not hold"):
        pool.release_blocks(blocks, KV)
    pool.release_blocks(blocks[:3], PREFIX)
    pool.release_blocks(blocks[3:], KV)
    pool.check()


def test_nothing_is_given_back_twice(device: torch.device) -> None:
    pool = make_pool(device, pages=8 * BLOCK_PAGES)
    blocks = pool.take_blocks(2, KV)
    with pytest.raises(NotHeld, match="named twice"):
        pool.release_blocks([blocks[0], blocks[0]], KV)
    for ids in ([-1], [pool.num_blocks]):
        with pytest.raises(NotHeld):
            pool.release_blocks(ids, KV)
    pool.release_blocks(blocks, KV)
    with pytest.raises(NotHeld):
        pool.release_blocks(blocks, KV)
    slot = pool.load(make_adapter(rank=1))
    pool.unload(slot)
    for use in (pool.unload, pool.ready, lambda slot: pool.wait([slot])):
        with pytest.raises(NotHeld, match=f"no adapter in slot {slot}"):
            use(slot)
    pool.check()


def test_rows_for_adapters_run_out_by_an_error_of_their_own(device: torch.device) -> None:
    pool = make_pool(device, pages=256, adapters=2)
    slots = [pool.load(make_adapter(rank=1, seed=seed)) for seed in range(2)]
    with pytest.raises(OutOfAdapterRows, match="2 adapters are resident already"):
        pool.load(make_adapter(rank=1))
    pool.unload(slots[0])
    assert pool.load(make_adapter(rank=1)) == slots[0]


def test_an_adapter_packed_for_another_pool_is_refused(device: torch.device) -> None:
    pool = make_pool(device, pages=256)
    packed = make_adapter(rank=1)
    wide = replace(packed, pages=torch.zeros(2, 64, dtype=torch.float16))
    with pytest.raises(ValueError, match=r"as 64 x torch\.float16 a page, the pool has 32 x"):
        pool.load(wide)
    with pytest.raises(ValueError, match=r"32 x torch\.bfloat16 a page"):
        pool.load(replace(packed, pages=packed.pages.bfloat16()))
    with pytest.raises(ValueError, match=r"of \[1, 7\] modules, not \[2, 7\]"):
        pool.load(replace(packed, rank=packed.rank[:1]))
    large = make_adapter(rank=4)
    with pytest.raises(ValueError, match=f"{len(large.pages)} pages; an adapter may have 128"):
        pool.load(large)
    assert pool.accounts.held[ADAPTER] == 0
    pool.check()


def test_an_adapter_of_a_higher_rank_than_the_pool_s_is_refused_and_nothing_changes(
    device: torch.device,
) -> None:
    pool = make_pool(device, pages=256, max_rank=2)
    one_module = LoraModule(torch.ones(3, 48), torch.ones(64, 3), scale=1.0)
    weights = make_weights(rank=1) | {(1, "q_proj"): one_module}
    with pytest.raises(ValueError, match=r"^rank 3; an adapter may have at most 2$"):
        pool.load(pack_adapter(SHAPE, weights, torch.float16))
    assert pool.accounts.free == 256
    pool.check()
    slot = pool.load(make_adapter(rank=2))
    pool.load(pack_adapter(SHAPE, {}, torch.float16))
    pool.unload(slot)
    pool.check()


def test_an_adapter_without_modules_is_resident_and_takes_no_page(device: torch.device) -> None:
    pool = make_pool(device, pages=256)
    slot = pool.load(pack_adapter(SHAPE, {}, torch.float16))
    pool.wait([slot])
    assert pool.accounts.free == 256
    pool.check()
    pool.unload(slot)


def test_accounts_that_somebody_else_has_used_are_refused(device: torch.device) -> None:
    accounts = PagePool(100)
    accounts.allocate(KV, 7)
    with pytest.raises(ValueError, match="7 pages are already held"):
        DevicePool(
            SHAPE, accounts, adapters=1, max_adapter_pages=1, dtype=torch.float16, device=device
        )


def test_accounts_changed_behind_the_pool_s_back_are_noticed(device: torch.device) -> None:
    pool = make_pool(device, pages=256)
    pool.accounts.allocate(KV, 1)
    with pytest.raises(AssertionError):
        pool.check()
