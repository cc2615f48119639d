"""Whatever is taken, given back, cached, loaded and dropped, the device's pool loses no page.

200 examples of 500 operations each run against a model that knows who holds what and what each
page must contain, and next to page accounts that are driven by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.accounts import ADAPTER, KV, PREFIX
from kernels.lora_stream import LoraModule, PackedAdapter, pack_adapter
from kernels.pool import DevicePool, NotHeld, OutOfAdapterRows
from kernels.shapes import MODULES, ModelShape
from simlora.serving.page_pool import OutOfPages, PagePool

torch.set_num_threads(1)

SHAPE = ModelShape(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    vocab_size=32,
)
CPU = torch.device("cpu")
PAGES, ADAPTER_ROWS, BLOCK_TOKENS = 205, 5, 3  # 205 is no multiple of a block's 12 pages
OPERATIONS = 500


def numbered_adapter(modules: int) -> PackedAdapter:
    """An adapter of rank 1 on that many modules, 2 to 42 pages, no two elements alike."""
    weights = {}
    for module in range(modules):
        layer, name = divmod(module, len(MODULES))
        inner, outer = SHAPE.linear_shapes[MODULES[name]]
        weights[layer, MODULES[name]] = LoraModule(torch.ones(1, inner), torch.ones(outer, 1), 1.0)
    packed = pack_adapter(SHAPE, weights, torch.float32)
    elements = torch.arange(packed.pages.numel(), dtype=torch.float32)
    return replace(packed, pages=elements.view_as(packed.pages))


ADAPTERS = [numbered_adapter(modules) for modules in range(1, 2 * len(MODULES) + 1)]
MAX_ADAPTER_PAGES = len(ADAPTERS[-3].pages)  # the two largest are too large for the tables
SERIAL_STEP = 1024.0  # more than an adapter's elements; 1000 of them are exact in float32


def frozen(value: Any) -> Any:
    """All that an object holds, attribute by attribute, in a form that can be compared."""
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, list):
        return [frozen(item) for item in value]
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if type(value).__module__.startswith(("kernels", "simlora")) and value is not SHAPE:
        names = getattr(type(value), "__slots__", None) or vars(value)
        return {name: frozen(getattr(value, name)) for name in names}
    return value


@dataclass
class Block:
    """A block that somebody holds, and what its pages must contain once a step has written them."""

    id: int
    owner: int
    stamp: float | None = None


class Model:
    """Does every operation three times: to the pool, to accounts by hand, and to plain lists."""

    def __init__(self) -> None:
        self.by_hand = PagePool(PAGES)
        self.accounts = PagePool(PAGES)
        self.pool = DevicePool(
            SHAPE,
            self.accounts,
            block_tokens=BLOCK_TOKENS,
            adapters=ADAPTER_ROWS,
            max_adapter_pages=MAX_ADAPTER_PAGES,
            dtype=torch.float32,
            device=CPU,
        )
        self.pool.pages.fill_(float("nan"))
        self.blocks: list[Block] = []
        self.resident: dict[int, PackedAdapter] = {}
        self.serial = 0
        self.refused = 0

    def operate(self, code: int) -> None:
        """One of the operations below, what it is done to and how much drawn from 16 bits."""
        verb, amount = code % 16, code // 16
        if verb < 5:
            self.take(amount % (10 if amount % 7 else 24), KV if verb < 4 else PREFIX)
        elif verb < 7:
            self.release(amount)
        elif verb == 7:
            self.transfer(amount)
        elif verb < 11:
            self.load(ADAPTERS[amount % len(ADAPTERS)])
        elif verb < 13:
            self.unload(amount)
        elif verb == 13:
            self.misuse(amount)
        else:
            self.step()
        note(f"{verb=} {amount=}: {self.accounts.free} free, {self.accounts.held} held")

    def refuse(self, error: type[Exception], operation: Any, *arguments: Any) -> None:
        """The operation raises `error`, and not a bit of pool or accounts is different after."""
        self.refused += 1
        before = frozen(self.pool)
        with pytest.raises(error):
            operation(*arguments)
        assert frozen(self.pool) == before

    def take(self, count: int, owner: int) -> None:
        pages = count * self.pool.pages_per_block
        if pages > self.by_hand.free:
            self.refuse(OutOfPages, self.pool.take_blocks, count, owner)
            return
        ids = self.pool.take_blocks(count, owner)
        self.by_hand.allocate(owner, pages)
        assert len(ids) == count
        self.blocks += [Block(int(id), owner) for id in ids]

    def some(self, amount: int, owner: int) -> list[Block]:
        """Some of an owner's blocks, not those that were taken together."""
        held = [block for block in self.blocks if block.owner == owner]
        return held[amount % 5 :: 1 + amount % 3]

    def release(self, amount: int) -> None:
        owner = (KV, PREFIX)[amount % 2]
        chosen = self.some(amount // 2, owner)
        self.pool.release_blocks([block.id for block in chosen], owner)
        self.by_hand.release(owner, len(chosen) * self.pool.pages_per_block)
        self.blocks = [block for block in self.blocks if block not in chosen]

    def transfer(self, amount: int) -> None:
        source, target = ((KV, PREFIX), (PREFIX, KV))[amount % 2]
        chosen = self.some(amount // 2, source)
        self.pool.transfer_blocks([block.id for block in chosen], source, target)
        self.by_hand.transfer(source, target, len(chosen) * self.pool.pages_per_block)
        for block in chosen:
            block.owner = target

    def load(self, adapter: PackedAdapter) -> None:
        self.serial += 1
        adapter = replace(adapter, pages=adapter.pages + self.serial * SERIAL_STEP)
        pages = len(adapter.pages)
        if pages > MAX_ADAPTER_PAGES:
            self.refuse(ValueError, self.pool.load, adapter)
        elif len(self.resident) == ADAPTER_ROWS:
            self.refuse(OutOfAdapterRows, self.pool.load, adapter)
        elif pages > self.by_hand.free:
            self.refuse(OutOfPages, self.pool.load, adapter)
        else:
            slot = self.pool.load(adapter)
            self.by_hand.allocate(ADAPTER, pages)
            assert slot not in self.resident
            self.resident[slot] = adapter

    def unload(self, amount: int) -> None:
        if amount % (ADAPTER_ROWS + 1) not in self.resident:
            self.refuse(NotHeld, self.pool.unload, amount % (ADAPTER_ROWS + 1))
            return
        slot = amount % (ADAPTER_ROWS + 1)
        self.pool.unload(slot)
        self.by_hand.release(ADAPTER, len(self.resident.pop(slot).pages))

    def misuse(self, amount: int) -> None:
        """Blocks that are free, somebody else's, named twice or not there at all."""
        owner = (KV, PREFIX)[amount % 2]
        ids = [block.id for block in self.blocks if block.owner == owner]
        others = set(range(-1, self.pool.num_blocks + 1)) - set(ids)
        wrong = [*ids[: amount % 3], sorted(others)[amount % len(others)]]
        if amount % 5 == 0 and ids:
            wrong = [*ids, ids[amount % len(ids)]]
        if amount % 8 < 4:
            self.refuse(NotHeld, self.pool.release_blocks, wrong, owner)
        elif amount % 8 < 6:
            self.refuse(NotHeld, self.pool.transfer_blocks, wrong, owner, KV)
        elif amount % 8 == 6:
            self.refuse(ValueError, self.pool.transfer_blocks, ids, owner, ADAPTER)
        else:
            self.refuse(ValueError, self.pool.take_blocks, 1, ADAPTER)

    def step(self) -> None:
        """A step begins: tables are flushed, and K and V written to all blocks that are new."""
        self.pool.flush_tables()
        pages, table = self.pool.pages.numpy(), self.pool.block_pages.flatten(1).numpy()
        for block in self.blocks:
            if block.stamp is None:
                self.serial += 1
                block.stamp = self.serial * SERIAL_STEP
                pages[table[block.id]] = block_contents(block.stamp)

    def check(self) -> None:
        """Nothing lost, nobody's contents touched, accounts as by hand."""
        self.pool.check()
        assert frozen(self.accounts) == frozen(self.by_hand)
        pages, tables = self.pool.pages.numpy(), self.pool.tables
        page_table, base_table = tables.page.numpy(), tables.base.numpy()
        for slot, packed in self.resident.items():
            mine = page_table[slot, : len(packed.pages)]
            assert pages[mine].tobytes() == packed.pages.numpy().tobytes()
            assert base_table[slot].tobytes() == packed.base.numpy().tobytes()
        written = [block for block in self.blocks if block.stamp is not None]
        if written:
            table = self.pool.block_pages.flatten(1).numpy()
            stamps = np.array([block.stamp for block in written], dtype=np.float32)
            contents = pages[table[[block.id for block in written]]]
            assert (contents == block_contents(0.0) + stamps[:, None, None]).all()


NUMBERS = np.arange(2 * 2 * BLOCK_TOKENS * SHAPE.kv_dim, dtype=np.float32)


def block_contents(stamp: float) -> NDArray[np.float32]:
    return NUMBERS.reshape(-1, SHAPE.kv_dim) + np.float32(stamp)


codes = st.binary(min_size=2 * OPERATIONS, max_size=2 * OPERATIONS)


@settings(max_examples=200)
@given(codes)
def test_no_page_is_lost_or_owned_twice_and_contents_stay_as_written(drawn: bytes) -> None:
    model = Model()
    for code in np.frombuffer(drawn, dtype="<u2").tolist():
        if code:  # a failing example shrinks to zeros, and the few operations that matter
            model.operate(code)
            model.check()
    event("some operations refused" if model.refused else "no operation refused")
