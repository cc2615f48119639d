"""One paged pool on the device for KV blocks, cached prefixes and adapters.

The pool is one tensor, `pages [pages, kv_dim]`. A page holds K or V of one token in one layer, or
`kv_dim` consecutive elements of an adapter. Pages are interchangeable and nothing needs neighbours,
so the pool cannot fragment: whatever is free can be had, by whoever asks.

How many pages each owner holds, and whether there are enough, is not decided here. That belongs to
whatever schedules requests, where it runs without a device too, and with the same result. The pool
is handed such accounts (`kernels.accounts.PageAccounts`), books every change in them, and adds only
identities: which pages. Accounts and identities cannot part, because these accounts are the pool's
alone. A scheduler that keeps its own has its changes made here in the same order, and since pages
are interchangeable, what its accounts have room for the pool has room for; both read the same.

A change that cannot be made raises and changes nothing, in the pool or in the accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from kernels.accounts import ADAPTER, FREE, KV, PREFIX, PageAccounts
from kernels.free_ids import FreeIds, Ids
from kernels.lora_stream import PackedAdapter
from kernels.shapes import MODULES, ModelShape
from kernels.tables import AdapterTables
from kernels.upload import StreamUploads, Uploads


class OutOfAdapterRows(Exception):
    """As many adapters are resident as the tables have rows; nothing has changed."""


class NotHeld(ValueError):
    """Blocks or a slot were named that their alleged owner does not hold; nothing has changed."""


class DevicePool:
    """Pages, KV blocks and resident adapters of one GPU, or of the CPU.

    A KV block is `block_tokens` tokens in all layers, `pages_per_block` pages: `block_pages[block,
    layer, 0 (K) or 1 (V), token]` says which. There are as many block ids as the pool could hold
    blocks, so pages run out before ids do. Tables have room for `adapters` resident adapters of at
    most `max_adapter_pages` pages. An adapter of a higher rank than `max_rank`, which is to be that
    of the steps' `LoraBatch`, is refused. `uploads` makes what copies adapters to the pool's pages
    and tables, for who wants to do it in another way or to know when a copy has ended.

    Methods return without waiting for the device, but `check`. They are called from one thread,
    with the stream that computes steps as the current one: its order is what keeps a page from
    being reused before the steps given to it are done with it (`kernels.upload` tells of the one
    other stream). Tensors are written in place and never replaced, so CUDA graphs may hold them.

    Raises ValueError unless the accounts are those of an empty pool.
    """

    def __init__(
        self,
        shape: ModelShape,
        accounts: PageAccounts,
        *,
        block_tokens: int = 16,
        adapters: int,
        max_adapter_pages: int,
        max_rank: int | None = None,
        dtype: torch.dtype,
        device: torch.device,
        uploads: Callable[[Tensor, AdapterTables], Uploads] | None = None,
    ) -> None:
        if accounts.free != accounts.pages:
            raise ValueError(f"{accounts.pages - accounts.free} pages are already held")
        pages, layers = accounts.pages, shape.num_hidden_layers
        self.shape = shape
        self.accounts = accounts
        self.max_rank = max_rank
        self.block_tokens = block_tokens
        self.pages_per_block = 2 * layers * block_tokens
        self.num_blocks = pages // self.pages_per_block
        self.pages = torch.empty(pages, shape.kv_dim, dtype=dtype, device=device)
        self.block_pages = torch.zeros(
            self.num_blocks, layers, 2, block_tokens, dtype=torch.int32, device=device
        )
        self.tables = AdapterTables.empty(adapters, max_adapter_pages, shape, device)
        uploads = uploads or (StreamUploads if self.pages.is_cuda else Uploads)
        self._uploads = uploads(self.pages, self.tables)

        self._free_pages = FreeIds(pages)
        self._free_blocks = FreeIds(self.num_blocks)
        self._free_slots = FreeIds(adapters)
        self._page_owner = np.full(pages, FREE, dtype=np.int8)
        self._block_owner = np.full(self.num_blocks, FREE, dtype=np.int8)
        self._block_rows: Ids = np.zeros((self.num_blocks, self.pages_per_block), dtype=np.int32)
        self._unwritten: list[Ids] = []  # blocks whose rows `block_pages` does not have yet
        self._adapter_pages: dict[int, Ids] = {}  # by slot

    # --- KV blocks ----------------------------------------------------------------------

    def take_blocks(self, count: int, owner: int) -> Ids:
        """Take `count` blocks for KV or PREFIX. Returns their ids; kernels know them after the next
        `flush_tables`. Raises what the accounts raise if there are not enough pages."""
        if owner not in (KV, PREFIX) or count < 0:
            raise ValueError(f"owner {owner} cannot take {count} blocks")
        self.accounts.allocate(owner, count * self.pages_per_block)
        blocks = self._free_blocks.take(count)
        pages = self._free_pages.take(count * self.pages_per_block)
        self._page_owner[pages] = owner
        self._block_owner[blocks] = owner
        self._block_rows[blocks] = pages.reshape(count, self.pages_per_block)
        self._unwritten.append(blocks)
        return blocks

    def release_blocks(self, blocks: ArrayLike, owner: int) -> None:
        """Give blocks of `owner` back. Raises NotHeld."""
        ids = self._held_by(blocks, owner)
        pages = self._block_rows[ids].ravel()
        self.accounts.release(owner, len(pages))
        self._page_owner[pages] = FREE
        self._block_owner[ids] = FREE
        self._free_pages.give(pages)
        self._free_blocks.give(ids)

    def transfer_blocks(self, blocks: ArrayLike, source: int, target: int) -> None:
        """Blocks change their owner, e.g. a finished prompt's KV becomes a cached prefix. Raises
        NotHeld."""
        if target not in (KV, PREFIX):
            raise ValueError(f"owner {target} cannot take blocks")
        ids = self._held_by(blocks, source)
        self.accounts.transfer(source, target, len(ids) * self.pages_per_block)
        self._page_owner[self._block_rows[ids]] = target
        self._block_owner[ids] = target

    def _held_by(self, blocks: ArrayLike, owner: int) -> Ids:
        """The ids as an array. Raises NotHeld unless all are the owner's, and each named once."""
        ids = np.asarray(blocks, dtype=np.int32).reshape(-1)
        if ids.size:
            in_range = ids.min() >= 0 and ids.max() < self.num_blocks
            if owner == FREE or not in_range or (self._block_owner[ids] != owner).any():
                raise NotHeld(f"owner {owner} does not hold all of the blocks {ids}")
            if len(np.unique(ids)) < len(ids):
                raise NotHeld(f"a block is named twice in {ids}")
        return ids

    def flush_tables(self) -> None:
        """Write the rows of all blocks taken since the last call, in one transfer. To be called
        before a step that uses them; does nothing if there are none."""
        if not self._unwritten:
            return
        # A block that was given back and taken again is here twice, both times with its last row.
        blocks = np.concatenate(self._unwritten)
        self._unwritten.clear()
        rows = torch.from_numpy(np.column_stack((blocks, self._block_rows[blocks])))
        if self.block_pages.is_cuda:
            rows = rows.pin_memory().to(self.block_pages.device, non_blocking=True)
        self.block_pages.view(self.num_blocks, -1).index_copy_(0, rows[:, 0].long(), rows[:, 1:])

    # --- adapters -----------------------------------------------------------------------

    def load(self, packed: PackedAdapter) -> int:
        """Give an adapter its pages and begin to copy it. Returns its slot.

        Raises ValueError if it is not packed for this pool or has more than `max_adapter_pages` or
        `max_rank`, OutOfAdapterRows, or what the accounts raise if there are not enough pages.
        """
        self._check_fits(packed)
        count = len(packed.pages)
        if not len(self._free_slots):
            raise OutOfAdapterRows(f"{len(self._adapter_pages)} adapters are resident already")
        self.accounts.allocate(ADAPTER, count)
        slot = int(self._free_slots.take(1)[0])
        pages = self._free_pages.take(count)
        self._page_owner[pages] = ADAPTER
        self._adapter_pages[slot] = pages
        self._uploads.start(slot, torch.from_numpy(pages), packed)
        return slot

    def unload(self, slot: int) -> None:
        """Drop an adapter that no step to come will use. Raises NotHeld."""
        pages = self._resident(slot)
        self._uploads.wait(slot)  # whatever is written to its pages next comes after its upload
        self.accounts.release(ADAPTER, len(pages))
        del self._adapter_pages[slot]
        self._page_owner[pages] = FREE
        self._free_pages.give(pages)
        self._free_slots.give(np.array([slot], dtype=np.int32))

    def ready(self, slot: int) -> bool:
        """Whether the adapter's copy has ended. Raises NotHeld."""
        self._resident(slot)
        return self._uploads.done(slot)

    def wait(self, slots: Iterable[int]) -> None:
        """Make the steps to come wait for the copies of these adapters. Raises NotHeld."""
        for slot in slots:
            self._resident(slot)
            self._uploads.wait(slot)

    def pages_of(self, slot: int) -> Ids:
        """The pages of an adapter, in the order of its packed ones. Raises NotHeld."""
        return self._resident(slot).copy()

    def _resident(self, slot: int) -> Ids:
        """The pages of an adapter. Raises NotHeld if there is none in this slot."""
        pages = self._adapter_pages.get(slot)
        if pages is None:
            raise NotHeld(f"no adapter in slot {slot}")
        return pages

    def _check_fits(self, packed: PackedAdapter) -> None:
        count, width = packed.pages.shape
        if width != self.shape.kv_dim or packed.pages.dtype != self.pages.dtype:
            raise ValueError(
                f"adapter packed as {width} x {packed.pages.dtype} a page, the pool has "
                f"{self.shape.kv_dim} x {self.pages.dtype}"
            )
        modules = (self.shape.num_hidden_layers, len(MODULES))
        if packed.rank.shape != modules:
            raise ValueError(f"adapter of {list(packed.rank.shape)} modules, not {list(modules)}")
        if count > self.tables.page.shape[1]:
            raise ValueError(f"{count} pages; an adapter may have {self.tables.page.shape[1]}")
        if self.max_rank is not None and (rank := int(packed.rank.max())) > self.max_rank:
            raise ValueError(f"rank {rank}; an adapter may have at most {self.max_rank}")

    # --- invariants ---------------------------------------------------------------------

    def check(self) -> None:
        """Raises AssertionError unless every page is free or has one owner, the accounts say the
        same, and the device's tables point at what is held. Waits for the device."""
        self.accounts.check()
        blocks = np.flatnonzero(self._block_owner != FREE)
        rows, adapters = self._block_rows[blocks], self._adapter_pages
        self._free_pages.check(np.concatenate((rows.ravel(), *adapters.values())))
        self._free_blocks.check(blocks)
        self._free_slots.check(np.array(list(adapters), dtype=np.int64))

        tags = np.full_like(self._page_owner, FREE)
        tags[rows] = self._block_owner[blocks, None]
        for held in adapters.values():
            tags[held] = ADAPTER
        assert (self._page_owner == tags).all(), "pages tagged as somebody else's"
        counts = np.bincount(tags + 1, minlength=4).tolist()
        assert counts == [self.accounts.free, *self.accounts.held], (counts, self.accounts.held)

        written = self._block_owner != FREE
        for ids in self._unwritten:
            written[ids] = False
        block_pages = self.block_pages.flatten(1).cpu().numpy()
        assert (block_pages[written] == self._block_rows[written]).all(), "wrong rows of blocks"
        self.wait(adapters)
        table = self.tables.page.cpu().numpy()
        for slot, held in adapters.items():
            assert (table[slot, : len(held)] == held).all(), f"the row of slot {slot} is wrong"
