"""Runs the points of a sweep that its directory does not hold yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.planning.sweep_executors import PointExecutor
from simlora.planning.sweep_grid import Point, Sweep
from simlora.planning.sweep_store import Store
from simlora.planning.sweep_table import row_of, write_table
from simlora.planning.sweep_work import FAILED, OK, Interrupted, Record, run_point
from simlora.scenario.schema import Scenario

MOST_DEATHS = 3
ITS_WORKER_DIED = (
    f"its worker died {MOST_DEATHS} times, perhaps for want of memory: fewer --jobs need less"
)

_LOOK_S = 5.0  # after so long without a result the executor is asked whether it still has workers

# Told how many points have ended and how many of those failed.
Progress = Callable[[int, int], None]
# Shown the row of one point that went well.
Look = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Ended:
    """What a sweep came to. `ran` points were run now, `unmade` ones have no scenario, and of both
    so many `failed`; `reused` ones were in the directory, or are the same run as another point."""

    points: list[Point] = field(default_factory=list)
    ran: int = 0
    unmade: int = 0
    reused: int = 0
    failed: int = 0
    interrupted: bool = False
    table: Path | None = None


@dataclass(slots=True)
class _Task:
    hash: str
    point: Point
    scenario: Scenario
    deaths: int = 0


def run_sweep(
    sweep: Sweep,
    store: Store,
    executor: PointExecutor,
    progress: Progress | None = None,
    look: Look | None = None,
) -> Ended:
    """Run what is missing and write the table. Points are made as workers become free. `look` is
    shown the first row that goes well, and ends the sweep by raising.

    Ctrl-C drops what is under way and writes the table of all that has ended. The caller holds the
    store. Raises UserError if it cannot be written to, or if the workers cannot run the points.
    """
    runner = _Runner(sweep, store, executor, progress or (lambda _done, _failed: None), look)
    try:
        runner.run()
    except KeyboardInterrupt:
        runner.ended.interrupted = True
        for _ in runner.fresh:  # points that earlier sweeps finished belong into the table as well
            pass
    runner.ended.table = write_table(store, runner.ended.points, sweep.keys)
    return runner.ended


def merge(sweep: Sweep, store: Store) -> Ended:
    """Write the table of the points that have ended so far, also while the sweep goes on.

    Raises UserError if there are none.
    """
    if not store.finished() and not store.to_redo():
        raise UserError(f"{store.directory}: holds no finished point, so there is nothing to merge")
    ended = Ended(points=[point for point, _ in sweep.points()])
    ended.table = write_table(store, ended.points, sweep.keys)
    return ended


class _Runner:
    """Gives out points, takes what comes back, and finds out which point kills its worker.

    When a worker dies, others that shared its pool are under suspicion too. Those that were there
    twice are therefore run alone: then it is known whose death the third one is.
    """

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        executor: PointExecutor,
        progress: Progress,
        look: Look | None,
    ) -> None:
        self._keys = sweep.keys
        self._look = look
        self.ended = Ended()
        self.fresh = self._fresh(sweep)
        self._store = store
        self._executor = executor
        self._deaths: tuple[type[BaseException], ...] = (*executor.deaths, Interrupted)
        self._progress = progress
        self._under_way: dict[Future[Record], _Task] = {}
        self._again: deque[_Task] = deque()
        self._alone: deque[_Task] = deque()
        self._running_alone = False

    def run(self) -> None:
        self._give_out()
        while self._under_way:
            done, _ = wait(self._under_way, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(self._under_way.pop(future), future)
            self._give_out()

    def _fresh(self, sweep: Sweep) -> Iterator[_Task]:
        """What is to be run. The same run under two settings is run once."""
        known = self._store.finished()
        for point, scenario in sweep.points():
            self.ended.points.append(point)
            if point.hash is None or scenario is None:
                self.ended.unmade += 1
                self.ended.failed += 1
                self._tell()
            elif point.hash in known:
                self.ended.reused += 1
                if self._look is not None and (record := self._store.read(point.hash)):
                    self._show(point, record)
                self._tell()
            else:
                known.add(point.hash)
                yield _Task(point.hash, point, scenario)

    def _give_out(self) -> None:
        slots = self._executor.slots()
        while len(self._under_way) < slots:
            if self._alone or self._running_alone:
                if self._under_way:
                    return
                self._running_alone = bool(self._alone)
                if self._alone:
                    self._submit(self._alone.popleft())
                    return
            task = self._again.popleft() if self._again else next(self.fresh, None)
            if task is None:
                return
            self._submit(task)

    def _submit(self, task: _Task) -> None:
        future = self._executor.submit(run_point, task.scenario, task.hash)
        self._under_way[future] = task

    def _take(self, task: _Task, future: Future[Record]) -> None:
        try:
            record = future.result()
        except self._deaths as error:
            each = 1 if isinstance(error, Interrupted) else self._executor.deaths_each
            task.deaths += each
            if task.deaths < MOST_DEATHS - 1:
                self._again.append(task)
                return
            if not self._running_alone or task.deaths < MOST_DEATHS:
                self._alone.append(task)
                return
            record = Record(FAILED, ITS_WORKER_DIED, lasting=False, host="")
        except UserError:
            raise
        except CancelledError:
            raise UserError(
                "the scheduler is gone; what is finished is kept for --resume"
            ) from None
        except Exception as error:  # what goes wrong in the point itself is in its record
            raise UserError(
                f"a worker cannot run points: {type(error).__name__}: {error}"
            ) from error
        self._store.write(task.hash, record)
        self.ended.ran += 1
        self.ended.failed += record.status != OK
        self._show(task.point, record)
        self._tell()

    def _show(self, point: Point, record: Record) -> None:
        if self._look is not None and record.status == OK:
            look, self._look = self._look, None
            look(row_of(point, record, self._keys))

    def _tell(self) -> None:
        ended = self.ended
        self._progress(ended.ran + ended.unmade + ended.reused, ended.failed)
