"""`simlora sweep` from end to end: kills at any moment, failures, growing grids, locks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.planning.sweeping import (
    assert_same_results,
    command,
    finished,
    options,
    sweep,
    sweep_here,
    table,
)

pytest.importorskip("loky", reason="the local executor needs loky")

GRID = ("adapters.hot.max_adapters=1,2,4,8,16,32", "workload.rate_rps=5,10,20,30")
SWEEP = (*options(GRID), "--replications", "3", "--resume", "--jobs", "2")
POINTS = 6 * 4 * 3
ROUNDS = 10


def children(pid: int) -> list[int]:
    """The processes that a process has begun and that are still there."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def workers(pid: int) -> list[int]:
    """The loky workers of a sweep."""
    found = []
    for child in children(pid):
        try:
            if b"popen_loky_posix" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it comes to hold in time."""
    deadline_s = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


def begin(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *options),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_kills_of_workers_and_of_the_sweep_neither_lose_nor_repeat_nor_change_a_point(
    tmp_path: Path,
) -> None:
    moments = random.Random(20261121)
    kept: dict[str, int] = {}
    orphans: list[int] = []
    killed = 0
    for round_ in range(ROUNDS):
        process = begin(tmp_path, *SWEEP)
        # At random moments: some before a worker is there, some in the middle of a point.
        kills_worker = bool(round_ % 2)
        more = moments.randrange(1, 6) if kills_worker else moments.randrange(0, 4)
        wanted = min(len(kept) + more, POINTS)
        assert until(lambda: len(finished(tmp_path)) >= wanted)  # noqa: B023
        time.sleep(moments.uniform(0, 0.2 if more else 2))
        ours = workers(process.pid)
        if kills_worker and ours:
            os.kill(moments.choice(ours), signal.SIGKILL)
            killed += 1
            time.sleep(moments.uniform(0, 1))
            assert process.poll() in (None, 0), process.stderr and process.stderr.read()
        ours = workers(process.pid)
        process.kill()
        process.communicate()
        now = finished(tmp_path)
        assert {name: now[name] for name in kept} == kept
        kept = now
        orphans += ours
    assert killed
    assert until(lambda: not any(map(is_running, orphans)), 20)
    assert kept

    resumed = sweep(tmp_path, *SWEEP)
    assert (resumed["rows"], resumed["ok"], resumed["failed"]) == (POINTS, POINTS, 0)
    assert resumed["reused"] == len(kept)
    assert resumed["ran"] == POINTS - len(kept)
    now = finished(tmp_path)
    assert len(now) == POINTS
    assert {name: now[name] for name in kept} == kept

    rows = table(tmp_path)
    undisturbed, expected = sweep_here(tmp_path, *GRID, replications=3, out="undisturbed")
    assert undisturbed.ran == POINTS
    assert_same_results(rows, expected)
    assert rows["provenance.hash"].is_unique
    assert not rows.duplicated(["point", "replication"]).any()
    assert set(rows["seed"]) == {0, 1, 2}


POISON = """\
import os
import signal
import tempfile

class Poison:
    def __init__(self):
        if not os.path.exists("harmless"):
            tempfile.mkstemp(dir="begun")
            os.kill(os.getpid(), signal.SIGKILL)

    def choose(self, request, replicas):
        return 0
"""


def test_a_point_that_kills_its_worker_three_times_is_a_failed_row_and_is_tried_on_resuming(
    tmp_path: Path,
) -> None:
    (tmp_path / "poison.py").write_text(POISON)
    (tmp_path / "begun").mkdir()
    grid = options(["gateway.routing=adapter_affinity,poison:Poison,least_loaded"])
    told = sweep(tmp_path, *grid, "--jobs", "2")
    assert (told["ok"], told["failed"]) == (2, 1)
    assert len(list((tmp_path / "begun").iterdir())) <= 3
    rows = table(tmp_path).set_index("gateway.routing")
    assert rows.loc["poison:Poison", "status"] == "failed"
    assert rows.loc["poison:Poison", "error"].startswith("its worker died 3 times")
    assert rows.loc[["adapter_affinity", "least_loaded"], "error"].isna().all()

    # The machine has now what it lacked: the module does no harm, yet it is the same run.
    kept = finished(tmp_path)
    (tmp_path / "harmless").touch()
    again = sweep(tmp_path, *grid, "--jobs", "2", "--resume")
    assert (again["ran"], again["reused"], again["ok"]) == (1, 2, 3)
    now = finished(tmp_path)
    assert len(now) == 3
    assert kept.items() <= now.items()


def test_a_sweep_whose_points_all_fail_exits_with_1(tmp_path: Path) -> None:
    told = sweep(tmp_path, "--grid", "model=llama-3.1-405b", "--jobs", "1", code=1)
    assert (told["ok"], told["failed"]) == (0, 1)


def test_two_sweeps_cannot_write_one_directory_but_a_third_may_merge_meanwhile(
    tmp_path: Path,
) -> None:
    many = ("--grid", "workload.rate_rps=20,30", "--replications", "2000", "--jobs", "1")
    process = begin(tmp_path, *many)
    try:
        assert until(lambda: len(finished(tmp_path)) > 2)
        refused = sweep(tmp_path, *many, "--resume", code=2)
        assert "another sweep is writing there" in refused["error"]
        merged = sweep(tmp_path, *many, "--merge")
        assert 2 < merged["rows"] == len(table(tmp_path)) < merged["points"] == 4000
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_leaves_what_is_finished_in_the_table(tmp_path: Path) -> None:
    process = begin(tmp_path, "--grid", "workload.rate_rps=20,30", "--replications", "500")
    assert until(lambda: len(finished(tmp_path)) > 3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted after" in err
    rows = table(tmp_path)
    assert len(rows) == len(finished(tmp_path)) > 3
    assert set(rows["status"]) == {"ok"}


def test_a_mistake_in_the_grid_is_one_sentence_and_no_rows(tmp_path: Path) -> None:
    told = sweep(tmp_path, "--grid", "workload.rate_rsp=5,10", code=2)
    assert told["error"].startswith("error: --grid workload.rate_rsp: unknown field")
    assert not (tmp_path / "out").exists()


def test_what_the_best_is_asked_of_is_checked_before_all_points_have_run(tmp_path: Path) -> None:
    grid = ("--grid", "workload.rate_rps=5,10,20,30", "--replications", "50", "--jobs", "1")
    told = sweep(tmp_path, *grid, "--best", "latency.ttft_s.p98", code=2)
    assert 'no figure "latency.ttft_s.p98"' in told["error"]
    assert len(finished(tmp_path)) < 200
    told = sweep(tmp_path, *grid, "--merge", "--best", "latency.ttft_s.p98", code=2)
    assert "wrote " in told["error"]
    told = sweep(tmp_path, *grid, "--where", "latency.ttft_s.p99<1", code=2)
    assert "it needs --best" in told["error"]


def test_a_tier_that_no_point_has_is_refused_in_one_sentence_before_anything_runs(
    tmp_path: Path,
) -> None:
    best, where = ("--best", "cost.fleet_usd"), ("--where", "tiers.glod.sla_attainment>=0.9")
    told = sweep(tmp_path, "--grid", "workload.rate_rps=5,10", *best, *where, code=2)
    assert told["error"] == (
        'error: no figure "tiers.glod.sla_attainment", for no tier "glod": did you mean gold? '
        "(allowed: gold or free)\n"
    )
    assert not (tmp_path / "out").exists()
