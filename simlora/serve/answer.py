"""An answer on its way: what there is of it, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from simlora.serving.request import COMPLETED, Request


class Answer:
    """Of one request. `emitted` tokens are there so far, each with its piece of the text (which may
    be empty); `over` says that there will be no more, and `reason` in OpenAI's words why a complete
    answer ends where it does."""

    __slots__ = ("_waiter", "_wanted", "emitted", "last_s", "over", "pieces", "reason", "request")

    def __init__(self, request: Request, pieces: Iterable[str] = (), reason: str = "") -> None:
        """`pieces` and `reason`, if they are known from the beginning."""
        self.request = request
        self.pieces = list(pieces)
        self.reason = reason
        self.emitted = 0
        self.last_s = -1.0  # time of the last token
        self.over = False
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the answer has ended as it should."""
        return self.over and self.request.status == COMPLETED

    def grow(self, emitted: int, now: float) -> None:
        """There are `emitted` tokens at `now`."""
        self.emitted, self.last_s = emitted, now
        if emitted >= self._wanted:
            self._wake()

    def end(self) -> None:
        """There will be no more."""
        self.over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def until(self, tokens: int) -> int:
        """Wait for so many tokens, or for the end. Returns how many there are. For one who waits
        at a time."""
        if self.emitted < tokens and not self.over:
            self._wanted = tokens
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.emitted
