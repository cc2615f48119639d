"""What a live run is doing, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from simlora.live.driver import Driver
    from simlora.live.run import Look
    from simlora.live.server import Server

RATE_OVER_S = 2.0  # tokens a second are counted over about this long


class Words:
    """The state of a run in a line."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._since_tokens = 0
        self._rate = 0.0

    def line(self, driver: Driver, server: Server, time_s: float) -> Text:
        """The line at `time_s` of the run's clock."""
        from rich.text import Text

        if time_s - self._since_s >= RATE_OVER_S:
            self._rate = (driver.output_tokens - self._since_tokens) / (time_s - self._since_s)
            self._since_s, self._since_tokens = time_s, driver.output_tokens
        scheduler = server.scheduler
        parts = [
            f"{time_s:,.0f} s",
            f"{driver.arrived:,} requests",
            f"{len(scheduler.running)} running",
            f"{scheduler.waiting} waiting",
            f"{scheduler.tiers.hot.count} hot adapters",
            f"{self._rate:,.0f} tokens/s",
        ]
        if driver.interrupted:
            parts.append("draining; Ctrl-C again ends at once")
        return Text("  ".join(parts))


@contextmanager
def watching() -> Iterator[Look]:
    """A line on stderr that goes when the run does; nothing at all where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.live import Live

    words = Words()
    console = Console(stderr=True)
    with Live(console=console, transient=True, auto_refresh=False) as shown:
        yield lambda driver, server, time_s: shown.update(
            words.line(driver, server, time_s), refresh=True
        )
