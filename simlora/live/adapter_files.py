"""The adapters of a live run as files on a local disk, and what host memory holds of them."""

from __future__ import annotations

import logging
import shutil
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.live.adapter_store import AdapterStore
from simlora.live.records import BESIDE, WITHOUT, Row
from simlora.live.server import Server
from simlora.scenario.deployment import Deployment
from simlora.serving.adapter_state import FETCHING, HOSTED, HOT, LOADING
from simlora.serving.adapter_tiers import AdapterTiers

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded, PackedAdapter

_log = logging.getLogger("simlora.live")


class AdapterFiles:
    """Copies of what `store` has in a temporary `directory`, as the scheduler's tiers tell.

    `host` holds what the scheduler's warm tier holds, ready to be copied to the device. What the
    system has of the files in its page cache it reads from there, as anywhere. Reading may be done
    by any thread; the rest is the driver's.
    """

    def __init__(
        self, deployment: Deployment, device: Embedded, directory: Path, store: AdapterStore
    ) -> None:
        self.host: dict[int, PackedAdapter] = {}
        self._device = device
        self._deployment = deployment
        self._store, self._disk = store, directory / "disk"
        self._on_disk: set[int] = set()
        self._withdrawn: deque[int] = deque()  # found by a thread, and not told yet
        self._in_use: Counter[int] = Counter()  # files that somebody reads or writes
        self._lock = Lock()

    def make(self, indexes: Iterable[int], server: Server) -> list[Row]:
        """Put these adapters where the run begins with them. Returns what the server has been told
        about it, as rows of the run's record. Raises UserError if one of them cannot be served, or
        there is no room."""
        known, tiers, rows = sorted(indexes), server.scheduler.tiers, list[Row]()
        self._store.prepare(known)
        if self._store.may_refuse:
            server.read_beside()
            rows.append(Row(BESIDE, 0, 0.0, 0.0))
        self._disk.mkdir()
        for index in known:
            hosted = tiers.state(index).host == HOSTED
            try:
                if hosted or index in tiers.lower.nvme:
                    self._to_disk(index)
                if hosted:
                    self.host[index] = self._load(index, fresh=True)
            except UserError:  # for its own requests to find out, when they come
                if hosted:
                    server.begin_without(index)
                    rows.append(Row(WITHOUT, index, 0.0, 0.0))
        self.follow(tiers)
        return rows

    def _to_disk(self, index: int) -> None:
        self._store.copy_to(index, self._disk / str(index))
        self._on_disk.add(index)

    def download(self, index: int) -> None:
        """Copy an adapter from the store to the disk."""
        with self._using(index):
            try:
                self._to_disk(index)
            finally:
                self._withdrawn.extend(self._store.withdrawn())

    def read(self, index: int, *, download: bool = False) -> PackedAdapter:
        """Read an adapter from the disk, with `download` after a copy from the store. Raises
        UserError if its files are damaged, Refused if another copy would be, too."""
        with self._using(index):
            # What came down from a tier above is written when it is next wanted.
            fresh = download or index not in self._on_disk
            if fresh:
                self.download(index)
            return self._load(index, fresh=fresh)

    def _load(self, index: int, *, fresh: bool) -> PackedAdapter:
        """`fresh`: the copy on the disk has just come from the store."""
        try:
            packed = self._device.read(self._disk / str(index))
            self._device.check_fits(index, packed)
        except UserError as error:
            name = self._deployment.adapters[index].name
            _log.error("adapter %s cannot be loaded: %s", name, error)
            if fresh and self._store.may_refuse:
                raise self._store.refuse(index, error) from None
            raise
        return packed

    @contextmanager
    def _using(self, index: int) -> Iterator[None]:
        with self._lock:
            self._in_use[index] += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_use[index] -= 1

    def withdrawn(self) -> list[int]:
        """Adapters that the store has withdrawn since the last call."""
        return [self._withdrawn.popleft() for _ in range(len(self._withdrawn))]

    def follow(self, tiers: AdapterTiers, resident: Container[int] = ()) -> None:
        """Drop what host memory and disk have evicted. `resident`: adapters that are on the device;
        others that the scheduler holds hot are still to be loaded, from here."""
        for index in list(self.host):
            state = tiers.state(index)
            coming = state.hot == HOT and index not in resident
            # What is being fetched may be here before the time is over that its way takes.
            kept = state.host in (FETCHING, HOSTED) or state.hot == LOADING or coming
            if not kept:
                del self.host[index]
        for index in [index for index in list(self._on_disk) if index not in tiers.lower.nvme]:
            state = tiers.state(index)
            unread = state.unread and (state.host == HOSTED or state.hot == HOT)
            coming = unread and index not in resident
            if self._in_use[index] or state.host == FETCHING or state.staging or coming:
                continue
            self._on_disk.discard(index)
            shutil.rmtree(self._disk / str(index))
