"""The protocol of an eviction policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class EvictionPolicy(Protocol):
    """Ranks the adapters of one tier. Keys are adapter indexes, sizes bytes, times seconds.

    A policy sees every access in the order of arrival; it does not know which adapters are in use,
    so the tier walks `victims` until one may go.
    """

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        """`key` has come into the tier."""

    def on_access(self, key: int, now: float) -> None:
        """A request for the resident `key` has arrived."""

    def on_remove(self, key: int) -> None:
        """`key` has left the tier."""

    def victims(self) -> Iterator[int]:
        """The resident keys, the one to evict first in front."""
