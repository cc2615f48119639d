"""Ctrl-C: the first lets what has come be served, the second ends the run; the files are there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from simlora.live.driver import Driver
from simlora.live.records import read_rows
from simlora.live.replay import decisions_of
from simlora.live.server import Server
from simlora.results import files
from simlora.results.files import DECISIONS
from simlora.results.result import load_result
from simlora.scenario.deployment import expand
from tests.simulating import Ask, traffic_of
from tests.unit.live.living import CONFIG, LONG, Lived, alone, live, live_scenario

# Ten requests at once, that take long, and one that nobody waits for.
ASKS = [*(Ask(0.0, number % 3, 20, 40) for number in range(10)), Ask(1e4, 0, 10, 1)]


class Asking:
    """Asks for the end once so many requests run."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, driver: Driver, server: Server, time_s: float) -> None:
        while self.times and server.scheduler.running:
            driver.ask()
            self.times -= 1


def interrupted(folder: Path, times: int) -> Lived:
    return live(live_scenario(folder, adapters=3), ASKS, folder / "out", Asking(times))


def test_the_first_ctrl_c_takes_no_more_requests_and_serves_those_that_have_come(
    tmp_path: Path,
) -> None:
    lived = interrupted(tmp_path, 1)
    assert lived.summary["simulation"]["interrupted"] is True
    assert lived.statuses == ["completed"] * 10
    assert lived.answers == {
        n: said for n, said in alone(lived.scenario, ASKS, tmp_path).items() if n < 10
    }


def test_the_second_ends_the_run_and_what_is_unfinished_is_told(tmp_path: Path) -> None:
    lived = interrupted(tmp_path, 2)
    assert lived.summary["simulation"]["interrupted"] is True
    assert lived.statuses.count("unfinished") > 0
    assert len(lived.statuses) == 10
    assert load_result(lived.result.directory).summary == lived.summary


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_run_is_replayed_to_its_end_too(times: int, tmp_path: Path) -> None:
    lived = interrupted(tmp_path, times)
    rows = read_rows(lived.result.directory / files.STEPS)
    again = decisions_of(lived.scenario, rows, traffic_of(expand(lived.scenario), ASKS))
    assert list(again) == lived.decisions


def test_a_workload_that_discards_ends_with_its_arrivals_and_is_no_interrupted_run(
    tmp_path: Path,
) -> None:
    scenario = live_scenario(tmp_path).with_overrides({"workload.on_end": "discard"})
    asks = [Ask(0.0, 0, 20, 2), Ask(0.0, 1, 30, 66), *(Ask(0.3, 2, 30, 66) for _ in range(6))]
    lived = live(scenario, asks, tmp_path / "out", duration_s=0.3)
    assert lived.summary["simulation"]["interrupted"] is False
    assert set(lived.statuses) == {"completed", "unfinished"}
    assert lived.statuses[0] == "completed"


def test_a_signal_ends_the_command_with_130_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    scenario, out = tmp_path / "long.yaml", tmp_path / "out"
    scenario.write_text(LONG.format(model=tmp_path / "config.json"))
    command = [sys.executable, "-m", "simlora", "live", str(scenario), "--out", str(out), "--json"]
    with subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not _begun(out):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told, complaints = process.communicate(timeout=60)
    assert process.returncode == 130, complaints
    summary: dict[str, Any] = json.loads(told)
    assert summary["simulation"]["interrupted"] is True
    assert summary["requests"]["completed"] == summary["requests"]["offered"] > 0
    assert load_result(out).summary == summary
    for name in (DECISIONS, files.STEPS, files.RESOLVED_SCENARIO):
        assert (out / name).stat().st_size > 0
    assert "Traceback" not in complaints


def _begun(out: Path) -> bool:
    """Whether decisions have reached the disk."""
    return any(path.stat().st_size for path in out.glob(f".unfinished-*/{DECISIONS}"))
