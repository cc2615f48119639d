"""Ctrl-C without losing what has been simulated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the user has asked for the end."""

    asked = False


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[Interruption]:
    """Within this context the first SIGINT or SIGTERM calls `stop` instead of raising, so that no
    state is left half changed; a second one does what it always does.

    Signals reach the main thread only; elsewhere the context changes nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        restore()
        interruption.asked = True
        stop()

    for number in before:
        signal.signal(number, ask)
    try:
        yield interruption
    finally:
        restore()
