"""Work in several processes: fresh ones, results in order, and no work left when it is stopped."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.validation.processes import run_all

TASKS = 40


def kind_of_process(number: int) -> tuple[int, str]:
    return number, type(multiprocessing.current_process()).__name__


def leave_a_file(folder: Path, number: int) -> None:
    time.sleep(0.05)
    (folder / str(number)).touch()


@pytest.mark.parametrize(("jobs", "kind"), [(1, "_MainProcess"), (2, "SpawnProcess")])
def test_results_come_in_order_and_processes_are_spawned(jobs: int, kind: str) -> None:
    told: list[int] = []
    found = run_all(kind_of_process, [(number,) for number in range(5)], jobs, told.append)
    assert found == [(number, kind) for number in range(5)]
    assert told == [1, 2, 3, 4, 5]


def test_what_has_not_begun_is_dropped_on_ctrl_c(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(leave_a_file, [(tmp_path, number) for number in range(TASKS)], 2, stop)
    for process in multiprocessing.active_children():
        process.join(30)
    assert 1 <= len(list(tmp_path.iterdir())) < TASKS / 2


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(UserError, match="a process was killed"):
        run_all(os._exit, [(9,), (9,)], 2)
