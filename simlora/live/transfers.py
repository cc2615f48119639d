"""Adapters on their way: what the scheduler has ordered, carried out in real time."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.live.adapter_files import AdapterFiles
from simlora.live.adapter_store import Refused
from simlora.live.mirror import Mirror
from simlora.live.store_link import StoreLink
from simlora.serving.loading import DISK, NETWORK, PCIE, TO_HOST, Transfer

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transfer has ended; `final`: it has failed, and would again."""

    failed: bool = False
    final: bool = False


class Transfers:
    """Moves adapters between store, disk, host and device. Called in the event loop of the run;
    files are read by the device's threads.

    What comes from the store takes as long as a link of `store_bytes_per_s` that the transfers
    share does; None: only as long as its copy.
    """

    def __init__(
        self,
        mirror: Mirror,
        device: Embedded,
        files: AdapterFiles,
        store_bytes_per_s: float | None,
    ) -> None:
        self._mirror = mirror
        self._device = device
        self._files = files
        self._store = None if store_bytes_per_s is None else StoreLink(store_bytes_per_s)
        self._uploads: dict[int, Future[None]] = {}  # by adapter

    def start_upload(self, index: int) -> None:
        """Give an adapter, which is in host memory, its place on the device and begin its copy; at
        a step boundary, when the pool is nobody else's."""
        slot, copied = self._device.upload(self._files.host[index])
        self._mirror.slots[index] = slot
        self._uploads[index] = copied

    async def carry_out(self, transfer: Transfer) -> Outcome:
        """Wait until a transfer is done; one to the device has been started."""
        try:
            await self._carry(transfer)
        except Refused:  # as it would be again
            return Outcome(failed=True, final=True)
        except UserError:  # what it brought is damaged
            return Outcome(failed=True)
        except OSError as error:  # this machine's own trouble, which may pass
            _log.error("an adapter cannot be loaded: %s", error)
            return Outcome(failed=True)
        return Outcome()

    async def _carry(self, transfer: Transfer) -> None:
        if transfer.link == PCIE:
            await asyncio.wrap_future(self._uploads.pop(transfer.adapter.index))
        elif transfer.link == DISK or self._store is None:
            await asyncio.sleep(transfer.backoff_s)
            await self._read(transfer)
        else:
            waited = self._store.carry(transfer.latency_s, transfer.nbytes, transfer.finish_s)
            work = [waited, self._read(transfer)]
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                if outcome is not None:
                    raise outcome

    async def _read(self, transfer: Transfer) -> None:
        """Bring an adapter's file where it is to go."""
        loop, index = asyncio.get_running_loop(), transfer.adapter.index
        threads = self._device.threads
        if transfer.goal != TO_HOST:
            await loop.run_in_executor(threads, self._files.download, index)
            return
        download = transfer.link == NETWORK
        packed = await loop.run_in_executor(
            threads, lambda: self._files.read(index, download=download)
        )
        self._files.host[index] = packed
