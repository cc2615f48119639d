"""What the device's pool asks of whoever keeps count of its pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

KV, PREFIX, ADAPTER = range(3)  # owners of pages, in the order of `PageAccounts.held`
FREE = -1  # the tag of a page without an owner


class PageAccounts(Protocol):
    """Counts of pages by owner, and the word on whether there are enough."""

    @property
    def pages(self) -> int:
        """Pages there are."""

    @property
    def free(self) -> int:
        """Pages nobody holds."""

    @property
    def held(self) -> Sequence[int]:
        """Pages that each owner holds."""

    def allocate(self, owner: int, pages: int) -> None:
        """Take free pages for `owner`, or raise and change nothing."""

    def release(self, owner: int, pages: int) -> None:
        """Give pages of `owner` back."""

    def transfer(self, source: int, target: int, pages: int) -> None:
        """Pages change their owner."""

    def check(self) -> None:
        """Raises AssertionError where pages were lost or made."""
