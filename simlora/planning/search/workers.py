"""Processes that stay for a whole search."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, TypeVar

from simlora.errors import UserError

ResultT = TypeVar("ResultT")


class Workers:
    """Does the same work on several inputs, in up to `jobs` processes; they start when first there
    is work for two, and end with the context."""

    def __init__(self, jobs: int = 1) -> None:
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, work: Callable[..., ResultT], calls: Sequence[tuple[Any, ...]]) -> list[ResultT]:
        """What `work` returns for each tuple of arguments, in that order.

        Raises UserError if a process is killed, and whatever `work` raises; Ctrl-C ends the
        processes.
        """
        if self._jobs == 1 or len(calls) < 2:
            return [work(*call) for call in calls]
        if self._pool is None:
            # A fork would copy whatever threads hold at that moment.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._jobs, context, initializer=_leave_ctrl_c)
        try:
            futures = [self._pool.submit(work, *call) for call in calls]
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise UserError(
                "a process was killed before its work was done, perhaps for want of memory: "
                "fewer --jobs need less"
            ) from None
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """End the processes, and whatever they are at."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _leave_ctrl_c() -> None:
    """Ctrl-C reaches every process of a terminal; what it means is for the first one to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
