"""Bars on stderr of commands that take their time; nothing at all where it is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simlora.scenario.schema import Scenario
from simlora.scenario.traffic import DEFAULT_DURATION_S


@contextmanager
def counting(total: int) -> Iterator[Callable[[int], None] | None]:
    """A bar told how many are done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("runs", total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def simulating(scenario: Scenario) -> Iterator[Callable[[float, int], None] | None]:
    """A bar over simulated time, told the time and how many requests have come."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        workload = scenario.workload
        total_s = workload.duration_s
        if total_s is None and workload.trace is None and workload.max_requests is None:
            total_s = DEFAULT_DURATION_S
        task = bar.add_task(scenario.name, total=total_s, state="")

        def update(time_s: float, arrived: int) -> None:
            state = f"{arrived:,} requests, {time_s:,.0f} s simulated"
            bar.update(task, completed=time_s, state=state)

        yield update
