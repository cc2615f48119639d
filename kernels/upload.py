"""Copying packed adapters from host memory into their pages, beside the step that is computing.

The pages of an adapter lie anywhere, so their rows cannot be copied by one transfer. They go in
pieces of a fixed size: one transfer into a staging buffer, then one scatter from there. A transfer
for each run of neighbouring pages would need no buffer, but in a pool that has been in use for a
while a run is as short as one page, and a thousand launches take longer than the copy itself. The
scatter moves at the speed of the GPU's memory, tens of times that of the link, so there is little
to be won from a second buffer.

Two streams touch the same memory, and these are the orders that keep them apart:

* An upload begins after all that the compute stream has been given so far, since a step in flight
  may still read the pages and the table row that the adapter takes over.
* A step that uses the adapter, and whatever reuses its pages, comes after the upload's event:
  `wait` makes the compute stream wait, `done` asks without waiting.
* Uploads follow each other on one stream, so they share the staging buffer, and an adapter may take
  over the pages of one whose upload was given up.

The compute stream is the one that is current when a method is called.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.lora_stream import PackedAdapter
from kernels.tables import AdapterTables

STAGING_BYTES = 16 * 2**20  # 0.3 ms of a 50 GB/s link, against some 10 us to launch a piece


class Uploads:
    """Uploads that are done when `start` returns, as where host and device memory are one."""

    def __init__(self, pages: Tensor, tables: AdapterTables) -> None:
        self._pages = pages
        self._tables = tables

    def start(self, slot: int, page_ids: Tensor, packed: PackedAdapter) -> None:
        """Fill the table row `slot` and the pages `page_ids` [n] int32 of the pool."""
        self._pages.index_copy_(0, self._write_row(slot, page_ids, packed), packed.pages)

    def done(self, slot: int) -> bool:
        """Whether the adapter's upload has ended."""
        return True

    def wait(self, slot: int) -> None:
        """What the compute stream is given from now on comes after the adapter's upload."""

    def _write_row(self, slot: int, page_ids: Tensor, packed: PackedAdapter) -> Tensor:
        """Write the adapter's table row. Returns its page ids on the device, [n] int64."""
        tables = self._tables
        row = tables.page[slot, : len(page_ids)]
        row.copy_(page_ids, non_blocking=True)
        tables.base[slot].copy_(packed.base, non_blocking=True)
        tables.rank[slot].copy_(packed.rank, non_blocking=True)
        tables.scale[slot].copy_(packed.scale, non_blocking=True)
        return row.long()


class StreamUploads(Uploads):
    """Uploads on a CUDA stream of their own."""

    def __init__(self, pages: Tensor, tables: AdapterTables) -> None:
        super().__init__(pages, tables)
        rows = min(tables.page.shape[1], STAGING_BYTES // (pages.shape[1] * pages.element_size()))
        self._staging = torch.empty_like(pages[: max(1, rows)])
        self._stream = torch.cuda.Stream(pages.device)
        self._running: dict[int, torch.cuda.Event] = {}

    def start(self, slot: int, page_ids: Tensor, packed: PackedAdapter) -> None:
        """Fill the table row `slot` and the pages `page_ids` [n] int32 of the pool."""
        self._stream.wait_stream(torch.cuda.current_stream(self._pages.device))
        with torch.cuda.stream(self._stream):
            # PyTorch reuses pinned memory only when the copies from it have ended, so neither the
            # ids nor the adapter must be held on to here.
            ids = self._write_row(slot, page_ids.pin_memory(), packed)
            rows = len(self._staging)
            for rows_ids, piece in zip(ids.split(rows), packed.pages.split(rows), strict=True):
                staged = self._staging[: len(piece)]
                staged.copy_(piece, non_blocking=True)
                self._pages.index_copy_(0, rows_ids, staged)
            self._running[slot] = self._stream.record_event()

    def done(self, slot: int) -> bool:
        """Whether the adapter's upload has ended."""
        running = self._running.get(slot)
        if running is not None and running.query():
            del self._running[slot]
            running = None
        return running is None

    def wait(self, slot: int) -> None:
        """What the compute stream is given from now on comes after the adapter's upload."""
        if not self.done(slot):
            torch.cuda.current_stream(self._pages.device).wait_event(self._running[slot])
