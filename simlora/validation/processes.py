"""The same work on many inputs, in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_all(
    work: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Result]:
    """What `work` returns for each tuple of arguments, in that order; the first are begun first.

    `progress` is told how many are done. What is raised, Ctrl-C too, drops all that has not begun.
    """
    results: dict[int, Result] = {}

    def note(index: int, result: Result) -> None:
        results[index] = result
        if progress is not None:
            progress(len(results))

    if jobs == 1 or len(calls) < 2:
        for index, arguments in enumerate(calls):
            note(index, work(*arguments))
    else:
        # A fork would copy whatever threads hold at that moment.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(calls)), mp_context=context) as pool:
            futures = {pool.submit(work, *call): index for index, call in enumerate(calls)}
            try:
                for future in as_completed(futures):
                    note(futures[future], future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)  # the pool's own end would let them all run
                raise
    return [results[index] for index in range(len(calls))]
