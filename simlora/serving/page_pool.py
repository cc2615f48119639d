"""The page accounting of a replica's GPU memory: one free list, every page with an owner."""

from __future__ import annotations

KV, PREFIX, ADAPTER = range(3)
OWNER_NAMES = ("kv", "prefix", "adapter")


class OutOfPages(Exception):
    """More pages were asked for than are free; nothing has changed."""


class PagePool:
    """Counts of pages by owner. A page holds `kv_dim` elements: K or V of one token in one layer.

    Pages are interchangeable, so the accounting needs no identities: an owner's pages need not be
    contiguous. This is where it has its home, for whether there is room is a decision, made alike
    with and without a device; the pool on a device (kernels.pool) is handed such accounts, books
    what it does in them, and adds which pages.
    """

    __slots__ = ("allocated_total", "free", "freed_total", "held", "pages", "peak")

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.free = pages
        self.held = [0, 0, 0]
        self.peak = [0, 0, 0]
        self.allocated_total = 0
        self.freed_total = 0

    def allocate(self, owner: int, pages: int) -> None:
        """Take `pages` free pages for `owner`. Raises OutOfPages and changes nothing."""
        if pages > self.free:
            raise OutOfPages(f"{pages} pages asked for, {self.free} free")
        self.free -= pages
        self.allocated_total += pages
        held = self.held[owner] = self.held[owner] + pages
        if held > self.peak[owner]:
            self.peak[owner] = held

    def release(self, owner: int, pages: int) -> None:
        """Give `pages` of `owner` back."""
        self.free += pages
        self.freed_total += pages
        self.held[owner] -= pages

    def transfer(self, source: int, target: int, pages: int) -> None:
        """Pages change their owner, e.g. a finished prompt's KV becomes a cached prefix."""
        self.held[source] -= pages
        held = self.held[target] = self.held[target] + pages
        if held > self.peak[target]:
            self.peak[target] = held

    def release_all(self) -> None:
        """The memory is lost with all that is in it."""
        for owner, pages in enumerate(self.held):
            self.release(owner, pages)

    def shrink(self, pages: int) -> None:
        """Lose `pages` free pages for good. Raises OutOfPages and changes nothing."""
        if pages > self.free:
            raise OutOfPages(f"{pages} pages to be lost, {self.free} free")
        self.free -= pages
        self.pages -= pages

    def check(self) -> None:
        """The conservation law. Raises AssertionError where pages were lost or made."""
        assert min(self.held) >= 0 and self.free >= 0, (self.held, self.free)
        assert self.free + sum(self.held) == self.pages, (self.free, self.held, self.pages)
        assert self.allocated_total == self.freed_total + sum(self.held)
