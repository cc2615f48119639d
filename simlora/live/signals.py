"""Signals that ask for the end of a run."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What SIGINT and SIGTERM do within this context. While a run is being set up the first one
    raises KeyboardInterrupt, so that whatever was made goes. While it is `serving` they call what
    that is given. After that they do nothing: what is left to do is to write the result.

    Signals reach the main thread only; in others the context does nothing.
    """

    def __init__(self) -> None:
        self._before: list[Any] = []
        self._over = False
        self._ask: Callable[[], object] | None = None

    @classmethod
    def within(cls, outer: Interrupts | None) -> AbstractContextManager[Interrupts]:
        """`outer`, whose context somebody else has entered and will leave, or one of its own."""
        return cls() if outer is None else nullcontext(outer)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = [signal.signal(number, self._came) for number in NUMBERS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(NUMBERS, self._before, strict=False):
            signal.signal(number, handler)

    @contextmanager
    def serving(self, ask: Callable[[], None]) -> Iterator[None]:
        """In a running event loop, which is to call `ask`."""
        loop = asyncio.get_running_loop()
        self._ask = lambda: loop.call_soon_threadsafe(ask)  # wakes it, too
        try:
            yield
        finally:
            self._over, self._ask = True, None

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._ask is not None:
            self._ask()
        elif not self._over:
            self._over = True
            raise KeyboardInterrupt


@contextmanager
def on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Within this context, in a running event loop, SIGINT and SIGTERM call `ask`."""
    with Interrupts() as interrupts, interrupts.serving(ask):
        yield
