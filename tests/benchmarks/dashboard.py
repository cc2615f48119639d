"""How long the dashboard takes: until its server is healthy, from opening it to the first figure in
the browser, from pressing Simulate to a new one for 20,000 requests, and a trace of a million rows.

Print only: what a machine takes is no test. Needs chromium.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.browser.server import chromium, dashboard

OPENINGS = 5
ROWS = 1_000_000
FIRST = "[data-testid=stMetricValue]"
CHART = "[data-testid=stVegaLiteChart] :is(canvas, svg.marks)"


def main() -> None:
    """Print the times, in seconds."""
    if shutil.which("chromium") is None:
        print("there is no chromium")
        return
    with TemporaryDirectory(prefix="simlora-") as scratch, chromium() as browser:
        started_s = time.perf_counter()
        with dashboard(Path(scratch)) as address:
            print(f"server healthy after {time.perf_counter() - started_s:.2f} s")
            cold_s = _opened(browser, address)
            warm_s = [_opened(browser, address) for _ in range(OPENINGS)]
            print(f"first result after opening: {cold_s:.2f} s on a server just started")
            print(f"  then {median(warm_s):.2f} s (median of {OPENINGS})")
            print(f"a what-if of 20,000 requests: {_what_if(browser, address):.2f} s")
            print(f"a trace of {ROWS:,} rows: {_trace(browser, address, Path(scratch)):.2f} s")


def _opened(browser: Any, address: str) -> float:
    """Seconds from opening to the first figure, in a browser without a cache."""
    page = browser.new_context().new_page()
    seconds = _timed(lambda: page.goto(address), lambda: page.wait_for_selector(FIRST))
    page.context.close()
    return seconds


def _what_if(browser: Any, address: str) -> float:
    """Seconds from pressing Simulate to the figures of 20,000 requests."""
    page = browser.new_context().new_page()
    page.goto(address)
    page.locator(CHART).nth(5).wait_for()  # or the browser is still busy with the opening
    field = page.get_by_role("spinbutton", name="Duration (s)", exact=True)
    field.fill("2500")
    field.press("Enter")
    page.get_by_text("About 20,000 requests").wait_for()
    computing = page.get_by_text("These figures are of the earlier settings")

    def shown() -> None:
        computing.wait_for()
        computing.wait_for(state="detached", timeout=120_000)

    press = page.get_by_role("button", name="Simulate", exact=True).click
    seconds = _timed(press, shown)
    page.context.close()
    return seconds


def _trace(browser: Any, address: str, scratch: Path) -> float:
    """Seconds from pressing the button to the figures of a CSV file of a million rows."""
    random = np.random.default_rng(0)
    file = scratch / "million.csv"
    arrival_s = np.cumsum(random.exponential(0.1, ROWS))
    tenant = random.zipf(1.5, ROWS) % 500
    tokens = random.integers(1, 2000, (ROWS, 2))
    with file.open("w") as out:
        out.write("arrival_s,tenant,prompt_tokens,output_tokens\n")
        for at, of, (prompt, output) in zip(arrival_s, tenant, tokens, strict=True):
            out.write(f"{at:.3f},t{of},{prompt},{output}\n")
    page = browser.new_context().new_page()
    page.goto(f"{address}/trace")
    page.get_by_test_id("stMain").locator("input[type=file]").set_input_files(file)
    button = page.get_by_role("button", name="Read the trace")
    button.wait_for(timeout=120_000)
    seconds = _timed(button.click, lambda: page.wait_for_selector(FIRST, timeout=120_000))
    page.context.close()
    return seconds


def _timed(begin: Callable[[], object], end: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    begin()
    end()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
