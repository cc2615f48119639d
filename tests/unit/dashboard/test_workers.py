"""The processes behind the dashboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlora import Scenario, UserError
from simlora.dashboard import jobs
from simlora.dashboard import workers as module
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.scenario_text import scenario_from_text
from simlora.dashboard.state import default_text
from simlora.dashboard.workers import DIED, TOO_LONG, Worker, Workers, outcome
from simlora.workload.importers import ImportOptions

PATIENCE_S = 60.0


@pytest.fixture
def scenario() -> Scenario:
    return scenario_from_text(default_text(), "default").with_overrides({"workload.duration_s": 30})


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(most=2)
    yield made
    made.close()


def lease(workers: Workers) -> Worker:
    worker = workers.lease()
    assert worker is not None
    return worker


def last_message(worker: Worker) -> tuple[list[Any], tuple[str, Any]]:
    """What it told on the way, and its last message."""
    told = []
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        message = worker.poll()
        if message is None:
            time.sleep(0.01)
        elif message[0] == "progress":
            told.append(message[1])
        else:
            return told, message
    raise TimeoutError


def scratch_of(worker: Worker) -> Path:
    return Path(worker._scratch.name)


def test_a_task_gives_its_result_and_leaves_no_file(workers: Workers, scenario: Scenario) -> None:
    worker = lease(workers)
    worker.start("what_if", (scenario,), {})
    told, message = last_message(worker)
    figures = outcome(workers, worker, message)
    assert isinstance(figures, RunFigures)
    assert figures.summary["requests"]["completed"] > 100
    assert all(0 <= share <= 1 and words for share, words in told)
    assert list(scratch_of(worker).iterdir()) == []


def test_a_mistake_is_a_sentence_and_the_worker_works_on(
    workers: Workers, scenario: Scenario
) -> None:
    worker = lease(workers)
    worker.start("what_if", (scenario.with_overrides({"workload.duration_s": 1e6}),), {})
    with pytest.raises(UserError, match="more than the 200,000"):
        outcome(workers, worker, last_message(worker)[1])
    assert lease(workers) is worker
    worker.start("what_if", (scenario,), {})
    assert last_message(worker)[1][0] == "done"


def test_uploaded_files_are_named_without_their_place_and_removed(workers: Workers) -> None:
    from simlora.workload.importers import ImportOptions

    worker = lease(workers)
    content = b"arrival_s,prompt_tokens,output_tokens\n0,1,1\n1,x,1\n"
    worker.start("read_trace", ("csv", ("mine.csv",), ImportOptions()), {"mine.csv": content})
    with pytest.raises(UserError, match=r"^mine\.csv:3: "):
        outcome(workers, worker, last_message(worker)[1])
    assert list(scratch_of(worker).iterdir()) == []


def test_a_killed_task_is_gone_with_its_files_and_another_worker_is_there(
    workers: Workers, scenario: Scenario
) -> None:
    worker = lease(workers)
    worker.start("what_if", (scenario.with_overrides({"workload.duration_s": 20_000}),), {})
    while not any(scratch_of(worker).iterdir()):
        assert worker.poll() is None or not worker.dead
        time.sleep(0.01)
    workers.kill(worker)
    assert worker.dead
    assert not scratch_of(worker).exists()
    other = lease(workers)
    other.start("what_if", (scenario,), {})
    assert last_message(other)[1][0] == "done"


def test_a_process_that_dies_is_told_in_a_sentence(workers: Workers, scenario: Scenario) -> None:
    worker = lease(workers)
    worker.start("what_if", (scenario.with_overrides({"workload.duration_s": 20_000}),), {})
    worker._process.kill()
    _, message = last_message(worker)
    with pytest.raises(UserError, match=DIED[:40]):
        outcome(workers, worker, message)
    assert not scratch_of(worker).exists()


def test_a_small_file_that_unpacks_to_more_than_memory_is_told_in_a_sentence(
    workers: Workers, scenario: Scenario
) -> None:
    rows, name = 5000, pa.array(["x" * 4_000_000])  # 20 GB
    tenants = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), name)
    ones = pa.array([1] * rows)
    columns = {"arrival_s": ones, "tenant": tenants, "prompt_tokens": ones, "output_tokens": ones}
    file = BytesIO()
    pq.write_table(pa.table(columns), file, store_schema=False)
    worker = lease(workers)
    asked = ("parquet", ("small.parquet",), ImportOptions(tenants=1))
    worker.start("read_trace", asked, {"small.parquet": file.getvalue()})
    with pytest.raises(UserError, match="needs more memory than it may have"):
        outcome(workers, worker, last_message(worker)[1])
    assert lease(workers) is worker
    worker.start("what_if", (scenario,), {})
    assert last_message(worker)[1][0] == "done"


def test_an_idle_process_that_died_is_not_given_out(workers: Workers) -> None:
    first = lease(workers)
    workers.give_back(first)
    first._process.kill()
    first._process.wait()
    assert lease(workers) is not first


def test_workers_are_bounded_over_all_sessions(workers: Workers) -> None:
    one, two = lease(workers), lease(workers)
    assert one is not two
    assert workers.lease() is None
    workers.give_back(one)
    assert lease(workers) is one


def test_a_task_that_nobody_looks_at_makes_room(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = lease(workers), lease(workers)
    one.seen_s = two.seen_s = time.monotonic()
    assert workers.lease() is None
    one.seen_s -= module.FORSAKEN_S + 1
    third = lease(workers)
    assert third not in (one, two)
    assert one.dead
    assert not two.dead


def test_a_task_that_takes_too_long_is_ended(workers: Workers, scenario: Scenario) -> None:
    worker = lease(workers)
    worker.start("what_if", (scenario.with_overrides({"workload.duration_s": 20_000}),), {})
    worker.began_s -= module.LONGEST_S + 1
    _, message = last_message(worker)
    with pytest.raises(UserError, match=TOO_LONG[:30]):
        outcome(workers, worker, message)
    assert worker.dead


def test_the_latest_results_are_remembered_and_the_oldest_forgotten(workers: Workers) -> None:
    for number in range(module.MOST_KEPT + 1):
        workers.keep(str(number), number)
        workers.kept("0") if number < 5 else None
    assert workers.kept("1") is None
    assert workers.kept(str(module.MOST_KEPT)) == module.MOST_KEPT


@pytest.mark.usefixtures("tidied")
def test_what_was_computed_ahead_is_there_when_a_session_asks(scenario: Scenario) -> None:
    jobs.ahead("what_if", scenario)
    jobs.begin("test", "Simulating", "what_if", scenario)
    assert jobs.desk().job is None
    figures = jobs.result("test")
    assert isinstance(figures, RunFigures)
    assert figures.summary["requests"]["completed"] > 100


@pytest.mark.usefixtures("tidied")
def test_what_another_page_cancels_is_told(scenario: Scenario) -> None:
    long = scenario.with_overrides({"workload.duration_s": 20_000})
    jobs.begin("one page", "Simulating", "what_if", long)
    jobs.begin("one page", "Simulating", "what_if", long.with_overrides({"seed": 1}))
    assert jobs.mistake("one page") is None
    jobs.begin("another", "Simulating", "what_if", scenario)
    assert jobs.mistake("one page") == jobs.SUPERSEDED
    jobs.cancel()
    assert jobs.mistake("another") is None


def test_closing_ends_every_process_and_removes_every_directory(scenario: Scenario) -> None:
    workers = Workers(most=2)
    busy, idle = lease(workers), lease(workers)
    workers.give_back(idle)
    busy.start("what_if", (scenario,), {})
    workers.close()
    for worker in (busy, idle):
        assert worker.dead
        assert not scratch_of(worker).exists()
