"""The adapters of a live run as files: an object store and a local disk in a temporary directory,
and what host memory holds of them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.serving.adapter_state import HOSTED, LOADING
from simlora.serving.adapter_tiers import AdapterTiers

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded, PackedAdapter

SPARE_BYTES = 2**30  # of the file system, left to others


class AdapterFiles:
    """Files of random adapters, drawn by the scenario's seed, of its ranks and modules.

    `host` holds what the scheduler's warm tier holds, ready to be copied to the device. What the
    system has of the files in its page cache it reads from there, as anywhere. Reading may be done
    by any thread; the rest is the driver's.
    """

    def __init__(self, deployment: Deployment, device: Embedded, directory: Path) -> None:
        self.host: dict[int, PackedAdapter] = {}
        self._device = device
        self._deployment = deployment
        self._store, self._disk = directory / "store", directory / "disk"
        self._on_disk: set[int] = set()
        self._in_use: Counter[int] = Counter()  # files that somebody reads or writes
        self._lock = Lock()

    def make(self, indexes: Iterable[int], tiers: AdapterTiers) -> None:
        """Make the files of these adapters, where the run begins with them. Raises UserError if
        there is no room."""
        adapters = [self._deployment.adapters[index] for index in sorted(indexes)]
        needed = 2 * sum(adapter.nbytes for adapter in adapters)
        for folder in (self._store, self._disk):
            folder.mkdir()
        free = shutil.disk_usage(self._store).free - SPARE_BYTES
        if needed > free:
            raise UserError(
                f"tenants: the files of {len(adapters)} adapters take {needed / 2**30:.1f} GiB, "
                f"but {free / 2**30:.1f} GiB are left in {self._store.parent}; use fewer or "
                "smaller adapters, or set TMPDIR"
            )
        corrupt = set(self._deployment.scenario.adapters.loading.corrupt)
        for adapter in adapters:
            folder = self.in_store(adapter.index)
            self._device.write(folder, adapter, self._deployment.scenario.seed + adapter.index)
            if adapter.name in corrupt:
                damage(folder)
            if adapter.index in tiers.lower.nvme:
                self._to_disk(adapter.index)
            if tiers.state(adapter.index).host == HOSTED:
                self.host[adapter.index] = self._device.read(folder)

    def in_store(self, index: int) -> Path:
        """The folder of an adapter in the store."""
        return self._store / str(index)

    def _to_disk(self, index: int) -> None:
        shutil.copytree(self.in_store(index), self._disk / str(index), dirs_exist_ok=True)
        self._on_disk.add(index)

    def download(self, index: int) -> None:
        """Copy an adapter from the store to the disk."""
        with self._using(index):
            self._to_disk(index)

    def read(self, index: int, *, download: bool = False) -> PackedAdapter:
        """Read an adapter from the disk, with `download` after a copy from the store. Raises
        UserError if its files are damaged."""
        with self._using(index):
            # What came down from a tier above is written when it is next wanted.
            if download or index not in self._on_disk:
                self._to_disk(index)
            return self._device.read(self._disk / str(index))

    @contextmanager
    def _using(self, index: int) -> Iterator[None]:
        with self._lock:
            self._in_use[index] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_use[index] -= 1

    def follow(self, tiers: AdapterTiers) -> None:
        """Drop what host memory and disk have evicted."""
        for index in [index for index in list(self.host) if not _kept(tiers, index)]:
            del self.host[index]
        for index in [index for index in list(self._on_disk) if index not in tiers.lower.nvme]:
            if self._in_use[index]:
                continue
            self._on_disk.discard(index)
            shutil.rmtree(self._disk / str(index))


def damage(folder: Path) -> None:
    """Cut an adapter's largest file off in the middle."""
    path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _kept(tiers: AdapterTiers, index: int) -> bool:
    state = tiers.state(index)
    return state.host == HOSTED or state.hot == LOADING
