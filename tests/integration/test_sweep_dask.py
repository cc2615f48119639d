"""`simlora sweep --executor dask` on a cluster: a scheduler and three workers over TCP."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.planning import sweep as sweep_module
from simlora.planning import sweep_executors
from simlora.planning.sweep import run_sweep
from simlora.planning.sweep_executors import open_executor
from simlora.planning.sweep_grid import plan_sweep
from simlora.planning.sweep_store import Store
from tests.unit.planning.sweeping import (
    assert_same_results,
    command,
    finished,
    options,
    scenario_file,
    sweep,
    sweep_here,
    table,
)

pytest.importorskip("distributed", reason="the dask executor needs distributed")

GRID = ("adapters.hot.max_adapters=1,2,4,8,16,32", "workload.rate_rps=5,10,20,30")
REPLICATIONS = 2
POINTS = 6 * 4 * REPLICATIONS
WORKERS = 3
LOOPBACK = ("--host", "127.0.0.1")


@dataclass
class Cluster:
    """A scheduler and its workers, each a process."""

    folder: Path
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        place = self.folder / "scheduler.json"
        self.scheduler = self._begin(
            "scheduler", "--scheduler-file", str(place), "--no-dashboard", "--port", "0"
        )
        deadline_s = time.monotonic() + 60
        while not self.address:
            assert time.monotonic() < deadline_s, "no scheduler"
            time.sleep(0.1)
            if place.exists() and place.read_text():
                self.address = json.loads(place.read_text())["address"]

    def add_worker(self) -> None:
        self.workers.append(
            self._begin("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        )

    def stop(self) -> None:
        for process in (*self.workers, *filter(None, [self.scheduler])):
            process.kill()
            process.wait()

    def _begin(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", *LOOPBACK, *arguments],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_a_cluster_that_loses_workers_gives_the_same_rows_as_one_process(
    tmp_path: Path, cluster: Cluster
) -> None:
    for _ in range(WORKERS):
        cluster.add_worker()
    arguments = command(
        tmp_path,
        *options(GRID),
        *("--replications", str(REPLICATIONS)),
        *("--executor", "dask", "--address", cluster.address, "--json"),
    )
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while len(finished(tmp_path)) < POINTS // 4 and process.poll() is None:
        time.sleep(0.02)
    for worker in random.Random(5).sample(cluster.workers, WORKERS - 1):
        worker.send_signal(signal.SIGKILL)
        time.sleep(0.5)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert (told["ok"], told["failed"], told["ran"]) == (POINTS, 0, POINTS)
    _, expected = sweep_here(tmp_path, *GRID, replications=REPLICATIONS, out="here")
    assert_same_results(table(tmp_path), expected)


def test_without_an_address_dask_makes_workers_here_and_a_deadly_point_is_a_failed_row(
    tmp_path: Path,
) -> None:
    (tmp_path / "poison.py").write_text(
        "import os\n\nclass Poison:\n    def __init__(self):\n        os._exit(1)\n"
    )
    grid = ("gateway.routing=adapter_affinity,poison:Poison", "workload.rate_rps=5,10,20")
    told = sweep(tmp_path, *options(grid), "--executor", "dask", "--jobs", "2")
    assert (told["ok"], told["failed"]) == (3, 3)
    rows = table(tmp_path)
    failed = rows["gateway.routing"] == "poison:Poison"
    assert rows.loc[failed, "error"].str.startswith("its worker died 3 times").all()
    _, expected = sweep_here(tmp_path, "workload.rate_rps=5,10,20", out="here")
    assert list(rows.loc[~failed, "latency.ttft_s.p99"]) == list(expected["latency.ttft_s.p99"])


def test_workers_that_cannot_be_started_here_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\n\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(UserError, match=r"^--executor dask: its workers could not be started here"),
        open_executor("dask", 1),
    ):
        pass


class DeadlyToFetch:
    """Kills the worker that has it when somebody wants to have it too."""

    def __reduce__(self) -> Any:
        os._exit(1)


def ends_then_kills(marker: Path) -> DeadlyToFetch:
    """Ends well the first time, but its worker dies before the result is fetched; it is then
    called again, and kills the next worker at once."""
    if marker.exists():
        os._exit(1)
    marker.touch()
    return DeadlyToFetch()


def test_a_point_whose_result_is_lost_and_whose_next_worker_dies_too_is_not_waited_for_for_ever(
    tmp_path: Path,
) -> None:
    """A worker that dies takes along results that nobody has fetched yet. dask runs these again,
    and where that kills a worker, its own executor never tells."""
    with open_executor("dask", 1) as executor:
        future = executor.submit(ends_then_kills, tmp_path / "was_here")
        assert isinstance(future.exception(timeout=60), executor.deaths)
        assert executor.submit(str.upper, "alive").result(timeout=60) == "ALIVE"


def test_a_worker_whose_files_differ_ends_the_sweep_in_one_sentence(
    tmp_path: Path, cluster: Cluster
) -> None:
    """The worker has another policy of the same name: it would give other figures."""
    cluster.add_worker()
    source = "class Mine:\n    def choose(self, request, replicas):\n        return 0\n"
    (tmp_path / "mine.py").write_text(f"{source}# as the worker has it\n")
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.py").write_text(source)
    told = sweep(
        here,
        *options(["gateway.routing=mine:Mine"]),
        *("--executor", "dask", "--address", cluster.address),
        code=2,
    )
    assert "a worker has another simlora, or other files than the sweep began with" in told["error"]
    assert not finished(here)


def test_a_scheduler_that_goes_away_ends_the_sweep_in_one_sentence_and_loses_no_point(
    tmp_path: Path, cluster: Cluster
) -> None:
    cluster.add_worker()
    many = (*options(["workload.rate_rps=20,30"]), "--replications", "500")
    process = subprocess.Popen(
        command(tmp_path, *many, "--executor", "dask", "--address", cluster.address),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(finished(tmp_path)) < 3 and process.poll() is None:
        time.sleep(0.02)
    assert cluster.scheduler is not None
    cluster.scheduler.kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err == "error: the scheduler is gone; what is finished is kept for --resume\n"
    merged = sweep(tmp_path, *many, "--merge")
    assert merged["rows"] == len(finished(tmp_path)) >= 3


def test_a_scheduler_that_hangs_ends_the_sweep_in_one_sentence(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped process keeps its connections, and what is sent to it is taken: nothing fails."""
    cluster.add_worker()
    monkeypatch.setattr(sweep_executors, "_CLOSE_S", 1.0)
    monkeypatch.setattr(sweep_executors, "_COUNT_EVERY_S", 0.5)
    monkeypatch.setattr(sweep_module, "_LOOK_S", 0.5)
    assert cluster.scheduler is not None
    scheduler = cluster.scheduler
    plan = plan_sweep(scenario_file(tmp_path), ["workload.rate_rps=20,30"], replications=500)
    store = Store(tmp_path / "out")

    def stop(done: int, failed: int) -> None:
        if done == 3:
            monkeypatch.setattr(sweep_executors, "_ANSWER_S", 1.0)
            scheduler.send_signal(signal.SIGSTOP)

    with (
        pytest.raises(
            UserError, match=r"^the scheduler has not answered for 1 s; what is finished"
        ),
        store.writing(resume=False),
        open_executor("dask", 1, cluster.address) as executor,
    ):
        run_sweep(plan, store, executor, stop)
    assert 3 <= len(finished(tmp_path)) < 1000


def test_a_scheduler_that_dies_while_nothing_is_under_way_is_told_of_in_one_sentence(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gives it up by itself, and then has none that could be asked."""
    cluster.add_worker()
    monkeypatch.setattr(sweep_executors, "_CONNECT_S", 2.0)
    with open_executor("dask", 1, cluster.address) as executor:
        assert executor.slots() > 0
        assert cluster.scheduler is not None
        cluster.scheduler.kill()
        monkeypatch.setattr(sweep_executors, "_COUNT_EVERY_S", 0.0)
        asked = 0
        while asked < 600 and executor._client.status != "closed":  # type: ignore[attr-defined]
            time.sleep(0.1)
            asked += 1
        for call in (executor.slots, lambda: executor.submit(str.upper, "late")):
            with pytest.raises(UserError, match=r"^the scheduler is gone; "):
                call()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("tcp://127.0.0.1:1", "--address: no dask scheduler answers at tcp://127.0.0.1:1"),
        ("127.0.0.1:8786", "--address: takes tcp://host:port of a dask scheduler"),
    ],
)
def test_an_address_without_a_scheduler_is_one_sentence(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_executors, "_CONNECT_S", 0.5)
    with pytest.raises(UserError, match=f"^{told}"), open_executor("dask", 1, address):
        pass


def test_a_scheduler_without_workers_is_one_sentence(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_executors, "_WORKERS_S", 0.5)
    with (
        pytest.raises(UserError, match=f"{cluster.address} has no workers; start some with"),
        open_executor("dask", 1, cluster.address),
    ):
        pass
