"""The processes that compute for all sessions: a bounded number, each for one session at a time."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simlora.dashboard.work import LONGEST_S, Message
from simlora.errors import UserError

MOST_WORKERS = 4
MOST_KEPT = 48  # results that are remembered
FORSAKEN_S = 90.0  # without a look at a task: its browser is gone
DIED = "the computation ended unexpectedly, perhaps for want of memory: try fewer requests"
TOO_LONG = f"the computation took longer than {LONGEST_S:.0f} s and was ended: ask for less"


class Worker:
    """One process and its scratch directory. What it computes is seen by `poll`."""

    def __init__(self) -> None:
        self._scratch = TemporaryDirectory(prefix="simlora-dashboard-", ignore_cleanup_errors=True)
        self._connection, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", "simlora.dashboard.work"]
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), self._scratch.name],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        self.began_s = self.seen_s = 0.0

    def start(self, task: str, arguments: tuple[Any, ...], files: Mapping[str, bytes]) -> None:
        """Begin a task; `files` lie in the scratch directory by their names while it lasts."""
        self.began_s = self.seen_s = time.monotonic()
        for name, content in files.items():
            (Path(self._scratch.name) / name).write_bytes(content)
        self._connection.send((task, arguments))

    def poll(self, within_s: float = 0.0) -> Message | None:
        """The next message: `progress`, `done` or `mistake`; None if there is none `within_s`."""
        self.seen_s = time.monotonic()
        try:
            if self._connection.poll(within_s):
                return self._connection.recv()
        except (EOFError, OSError):
            return "died", DIED
        if self.seen_s - self.began_s > LONGEST_S:
            return "died", TOO_LONG
        return None

    def clear(self) -> None:
        """Remove what the task left in the scratch directory."""
        for left in Path(self._scratch.name).iterdir():
            if left.is_file():
                left.unlink(missing_ok=True)

    def end(self) -> None:
        """Kill the process and remove its scratch directory."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._scratch.cleanup()

    @property
    def dead(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process.poll() is not None

    @property
    def forsaken(self) -> bool:
        """Whether whoever asked for the task has stopped looking."""
        return time.monotonic() - self.seen_s > FORSAKEN_S


class Workers:
    """At most `most` workers, and the latest results by key. Shared by all sessions and safe to use
    from their threads; a session sees no other's tasks, and results are only ever read."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most or max(1, min(os.cpu_count() or 1, MOST_WORKERS))
        self._lock = threading.Lock()
        self._idle: list[Worker] = [Worker()]  # its imports are done before anybody asks
        self._busy: set[Worker] = set()
        self._kept: OrderedDict[str, Any] = OrderedDict()
        atexit.register(self.close)

    def lease(self) -> Worker | None:
        """A worker to begin a task with; None while all are busy."""
        with self._lock:
            for worker in [worker for worker in self._busy if worker.forsaken]:
                self._busy.discard(worker)
                worker.end()
            for worker in [worker for worker in self._idle if worker.dead]:
                self._idle.remove(worker)
                worker.end()
            if not self._idle and len(self._busy) < self._most:
                self._idle.append(Worker())
            if not self._idle:
                return None
            worker = self._idle.pop()
            worker.seen_s = time.monotonic()
            self._busy.add(worker)
            return worker

    def give_back(self, worker: Worker) -> None:
        """The worker has done its task."""
        with self._lock:
            if worker in self._busy:
                worker.clear()
                self._busy.discard(worker)
                self._idle.append(worker)

    def kill(self, worker: Worker) -> None:
        """End a worker whose task is not wanted any more, and start another in its place."""
        with self._lock:
            if worker in self._busy:
                self._busy.discard(worker)
                worker.end()
                if not self._idle:
                    self._idle.append(Worker())

    def kept(self, key: str) -> Any | None:
        """The result of an earlier task with the same key, if it is still known."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: str, result: Any) -> None:
        """Remember a result; the one not asked for the longest goes."""
        with self._lock:
            self._kept[key] = result
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            for worker in (*self._idle, *self._busy):
                worker.end()
            self._idle.clear()
            self._busy.clear()


def outcome(workers: Workers, worker: Worker, message: Message) -> Any:
    """What a task came to, from its last message; the worker is free for others.

    Raises UserError if it failed.
    """
    kind, content = message
    if kind == "died":
        workers.kill(worker)
    else:
        workers.give_back(worker)
    if kind == "done":
        return content
    raise UserError(content)
