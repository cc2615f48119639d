"""The same work on many inputs, in several processes."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any, TypeVar

from simlora.errors import UserError

Result = TypeVar("Result")
_GRACE_S = 5.0  # for work under way to notice that it is to end


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
    with closing(run_each(work, calls, jobs)) as finished:
        for index, result in finished:
            results[index] = result
            if progress is not None:
                progress(len(results))
    return [results[index] for index in range(len(calls))]


def run_each(
    work: Callable[..., Result], calls: Sequence[tuple[Any, ...]], jobs: int = 1
) -> Generator[tuple[int, Result], None, None]:
    """The index of each tuple of arguments with what `work` returns for it, as they finish.

    Closing the iterator, or what is raised, drops all that has not begun and ends the processes.
    Raises UserError if one of those is killed, and whatever `work` raises.
    """
    if jobs == 1 or len(calls) < 2:
        for index, arguments in enumerate(calls):
            yield index, work(*arguments)
        return
    # A fork would copy whatever threads hold at that moment.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(jobs, len(calls)), context, initializer=_leave_ctrl_c) as pool:
        futures = {pool.submit(work, *call): index for index, call in enumerate(calls)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process was killed before its work was done, perhaps for want of memory: "
                "fewer --jobs need less"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # its own end would let them all run
            _end(set(multiprocessing.active_children()) - others)
            raise


def _leave_ctrl_c() -> None:
    """Ctrl-C reaches every process of a terminal; what it means is for the first one to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(processes: set[Any]) -> None:
    """Wait for processes that are about to end, and end those that go on."""
    deadline_s = time.monotonic() + _GRACE_S
    for process in processes:
        process.join(max(0.0, deadline_s - time.monotonic()))
        if process.is_alive():
            process.terminate()
