"""The way from an object store, which is not there: transfers that take the time it would."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress


class StoreLink:
    """Transfers share `bytes_per_s` equally while they last, as they do in the simulation; what
    comes before and after a transfer's bytes passes beside that of others."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._rest: dict[int, float] = {}  # bytes left, as of _updated_s
        self._changed = asyncio.Event()
        self._updated_s = 0.0
        self._next = 0

    async def carry(self, latency_s: float, nbytes: int, finish_s: float) -> None:
        """Take as long as a transfer over this link takes."""
        await asyncio.sleep(latency_s)
        self._settle()
        key, self._next = self._next, self._next + 1
        self._rest[key] = float(nbytes)
        self._tell()
        while True:
            changed, left_s = self._changed, self._left_s(key)
            if left_s <= 0:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left_s)
            self._settle()
        del self._rest[key]
        self._tell()
        await asyncio.sleep(finish_s)

    def _left_s(self, key: int) -> float:
        return self._rest[key] * len(self._rest) / self._bytes_per_s

    def _settle(self) -> None:
        now = time.perf_counter()
        if self._rest:
            moved = (now - self._updated_s) * self._bytes_per_s / len(self._rest)
            self._rest = {key: rest - moved for key, rest in self._rest.items()}
        self._updated_s = now

    def _tell(self) -> None:
        """The number of sharers has changed."""
        self._changed.set()
        self._changed = asyncio.Event()
