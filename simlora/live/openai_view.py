"""What a run on somebody's server is doing, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlora.live.openai_driver import OpenAIDriver


def line(driver: OpenAIDriver, time_s: float) -> str:
    """The state of the run at `time_s` of its clock."""
    running, waiting = driver.counts
    parts = [f"{time_s:,.0f} s", f"{driver.arrived:,} requests sent"]
    parts += [f"{running} answers under way", f"{waiting} without a token"]
    if driver.interrupted:
        parts.append("draining; Ctrl-C again ends at once")
    return "  ".join(parts)


@contextmanager
def watching() -> Iterator[Callable[[OpenAIDriver, float], None]]:
    """A line on stderr that goes when the run does; nothing at all where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as shown:
        yield lambda driver, time_s: shown.update(Text(line(driver, time_s)), refresh=True)
