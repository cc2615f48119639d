"""Where points are run: processes of this machine (loky), or a cluster (dask.distributed).

Both are used through futures as `concurrent.futures` has them.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Literal, Protocol

from simlora.errors import UserError

Kind = Literal["local", "dask"]
_NEEDED = "--executor: {} needs the package {}; pip install 'simlora[cluster]'"
_KEPT = "what is finished is kept for --resume"
_GONE = f"the scheduler is gone; {_KEPT}"
_AHEAD = 2  # points given out for each worker: it has the next one when one ends
_IDLE_S = 300.0
_CONNECT_S = 10.0
_WORKERS_S = 30.0
_CLOSE_S = 10.0
_COUNT_EVERY_S = 5.0
_ANSWER_S = 60.0  # a busy scheduler may be slow, a stopped one never answers


class PointExecutor(Protocol):
    """Something that calls functions elsewhere."""

    deaths: tuple[type[BaseException], ...]
    """What a future raises whose worker died."""

    deaths_each: int
    """How many workers died before that is raised."""

    def slots(self) -> int:
        """How many calls to have under way at a time. Raises UserError if all workers are gone."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call `work` on a worker."""


@contextmanager
def open_executor(kind: Kind, jobs: int, address: str | None = None) -> Iterator[PointExecutor]:
    """An executor until the block ends: `jobs` processes here, or the cluster whose scheduler is
    at `address`. What is under way at the end is dropped.

    Raises UserError if a package is missing or the scheduler cannot be reached.
    """
    opened = _local(jobs) if kind == "local" else _dask(jobs, address)
    with opened as executor:
        yield executor


class LocalExecutor:
    """`jobs` processes of loky. When one is killed, loky gives up all of them and whatever was
    under way: the next call starts new ones."""

    deaths_each = 1

    def __init__(self, jobs: int) -> None:
        import loky  # type: ignore[import-untyped, import-not-found, unused-ignore]

        self.deaths: tuple[type[BaseException], ...] = (loky.BrokenProcessPool,)
        self._jobs = jobs
        self._loky = loky

    def slots(self) -> int:
        """Points that are given out at a time."""
        return self._jobs * _AHEAD

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call `work` in one of the processes."""
        try:
            future: Future[Any] = self._pool().submit(work, *arguments)
        except self.deaths:  # it broke after the last look at it
            future = self._pool().submit(work, *arguments)
        return future

    def close(self) -> None:
        """Kill the processes."""
        self._pool().shutdown(wait=True, kill_workers=True)

    def _pool(self) -> Any:
        return self._loky.get_reusable_executor(
            self._jobs, timeout=_IDLE_S, initializer=_prepare_worker, initargs=(os.getpid(),)
        )


def _prepare_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when the parent does, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _local(jobs: int) -> Iterator[PointExecutor]:
    try:
        executor = LocalExecutor(jobs)
    except ModuleNotFoundError as error:
        raise UserError(_NEEDED.format("local", error.name)) from None
    try:
        yield executor
    finally:
        executor.close()


class DaskExecutor:
    """The workers of a dask cluster. The scheduler hands a dead worker's points to others by
    itself, as often as its `allowed-failures` says, and then gives them up."""

    def __init__(self, client: Any) -> None:
        from distributed import KilledWorker

        self.deaths: tuple[type[BaseException], ...] = (KilledWorker,)
        self.deaths_each = 1 + client.run_on_scheduler(_allowed_failures)
        self._client = client
        self._threads = 0
        self._counted_s = -_COUNT_EVERY_S
        self._seen_s = time.monotonic()

    def slots(self) -> int:
        """Points that are given out at a time; workers may come and go."""
        now_s = time.monotonic()
        if now_s - self._counted_s >= _COUNT_EVERY_S:
            self._threads = self._count()
            self._counted_s = now_s = time.monotonic()
            if self._threads:
                self._seen_s = now_s
            elif now_s - self._seen_s > _WORKERS_S:
                raise UserError(f"the scheduler has had no workers for {_WORKERS_S:g} s; {_KEPT}")
        return _AHEAD * max(self._threads, 1)

    def _count(self) -> int:
        """Threads of all workers."""
        self._check_open()
        started_s = time.monotonic()
        try:
            return sum(self._client.nthreads(callback_timeout=_ANSWER_S).values())
        except (OSError, TimeoutError):
            if time.monotonic() - started_s < _ANSWER_S:
                raise UserError(_GONE) from None
            # One that is stopped, or hangs, still takes what is sent to it.
            raise UserError(
                f"the scheduler has not answered for {_ANSWER_S:g} s; {_KEPT}"
            ) from None

    def _check_open(self) -> None:
        """Raises UserError if the client has given up its scheduler."""
        if self._client.status in ("closing", "closed"):
            raise UserError(_GONE)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call `work` on one of the workers. Raises UserError if the scheduler is gone."""
        self._check_open()
        answer: Future[Any] = Future()
        there = self._client.submit(work, *arguments, pure=False)
        self._client.loop.add_callback(_fetch, there, answer)
        return answer


async def _fetch(there: Any, answer: Future[Any]) -> None:
    """Give the answer what comes of the future that is `there`. The client's own executor does not
    tell of what goes wrong after the work has ended: its worker dies before the result is fetched,
    dask does the work again, and then it fails."""
    try:
        answer.set_result(await there)
    except BaseException as error:  # whatever it is, the sweep must not wait for ever
        answer.set_exception(error)


def _leaving_ctrl_c() -> Any:
    """What keeps workers on this terminal, new ones too, from ending with a traceback each."""
    from distributed import WorkerPlugin

    class LeaveCtrlC(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return LeaveCtrlC()


def _allowed_failures(dask_scheduler: Any) -> int:
    return int(dask_scheduler.allowed_failures)


@contextmanager
def _ending(opened: Any) -> Iterator[Any]:
    """Close it at the end, without waiting for ever for a worker that has just been restarted, or
    for a scheduler that does not answer: what then is left ends with this process."""
    try:
        yield opened
    finally:
        with suppress(TimeoutError):
            opened.close(timeout=_CLOSE_S)


def _local_cluster(jobs: int) -> Any:
    import distributed

    try:
        return distributed.LocalCluster(
            n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs=50
        )
    except RuntimeError as error:
        raise UserError(
            "--executor dask: its workers could not be started here, perhaps for want of memory: "
            f"fewer --jobs need less ({error})"
        ) from None


@contextmanager
def _dask(jobs: int, address: str | None) -> Iterator[PointExecutor]:
    try:
        import dask
        import distributed
    except ModuleNotFoundError as error:
        raise UserError(_NEEDED.format("dask", error.name)) from None
    for name in ("distributed", "distributed.client"):  # what it logs is told as one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address is None:
        # Here the sweep itself counts the deaths, as it does with local processes.
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            _ending(_local_cluster(jobs)) as cluster,
            _ending(distributed.Client(cluster, set_as_default=False)) as client,
        ):
            client.register_plugin(_leaving_ctrl_c())
            yield DaskExecutor(client)
        return
    if not re.fullmatch(r"(tcp|tls)://\S+:\d+", address):
        raise UserError(f"--address: takes tcp://host:port of a dask scheduler, not {address!r}")
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except OSError:
        raise UserError(f"--address: no dask scheduler answers at {address}") from None
    with _ending(client):
        try:
            client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError:
            raise UserError(
                f"--address: the scheduler at {address} has no workers; start some with "
                f"`dask worker {address}`"
            ) from None
        try:
            executor = DaskExecutor(client)
        except ModuleNotFoundError as error:
            raise UserError(
                f"--address: the scheduler at {address} lacks the package {error.name}; install "
                "simlora there as well as on the workers"
            ) from None
        yield executor
