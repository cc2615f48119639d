"""Where a run writes, and what it refuses to write or to call a result."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import simlora
from simlora.cli.main import main
from simlora.errors import UserError
from simlora.results import files
from simlora.sim import simulate
from simlora.sim.output import growing_result
from tests.simulating import small_scenario

SHORT = small_scenario(workload={"rate_rps": 5.0, "duration_s": 10.0})


def test_the_directory_may_be_given_as_text(tmp_path: Path) -> None:
    result = simulate(SHORT, out=str(tmp_path / "run"))
    assert result.directory == tmp_path / "run"
    assert simlora.load_result(tmp_path / "run").summary == result.summary
    assert not list((tmp_path / "run").glob(".unfinished-*"))


@pytest.mark.parametrize("name", [files.SUMMARY, files.REPORT])
def test_a_directory_in_the_way_of_a_file_is_told_before_anything_is_lost(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / files.REQUESTS).write_text("an earlier run")
    with pytest.raises(UserError, match=f"{name}: is a directory, where the result has a file"):
        simulate(SHORT, out=tmp_path)
    assert (tmp_path / files.REQUESTS).read_text() == "an earlier run"
    assert not list(tmp_path.glob(".unfinished-*"))


def test_what_killed_runs_left_is_removed_but_not_a_run_that_goes_on(tmp_path: Path) -> None:
    stale = tmp_path / ".unfinished-abc"
    stale.mkdir()
    (stale / files.REQUESTS).write_text("half a file")
    with growing_result(tmp_path) as other:
        assert not stale.exists()
        (other / "mine").write_text("mine")
        simulate(SHORT, out=tmp_path)
        assert (other / "mine").exists()
    assert (tmp_path / "mine").exists()
    assert not list(tmp_path.glob(".unfinished-*"))


def test_a_failed_run_leaves_an_earlier_result_alone(tmp_path: Path) -> None:
    simulate(SHORT, out=tmp_path)
    before = (tmp_path / files.SUMMARY).read_bytes()
    with pytest.raises(TypeError), growing_result(tmp_path) as working:
        (working / files.SUMMARY).write_text(3)  # type: ignore[arg-type]
    assert (tmp_path / files.SUMMARY).read_bytes() == before


def test_a_run_leaves_no_file_of_an_earlier_run_of_another_kind(tmp_path: Path) -> None:
    """A live run's, say; what is nobody's result stays."""
    for name in files.ALL:
        (tmp_path / name).write_text("of a live run")
    (tmp_path / "notes.txt").write_text("mine")
    simulate(SHORT, out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        files.SUMMARY,
        files.REQUESTS,
        files.TENANTS,
        files.TIMELINE,
        files.RESOLVED_SCENARIO,
        "notes.txt",
    }
    assert simlora.load_result(tmp_path).summary["name"] == SHORT.name


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write results there"), growing_result(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: cannot write results there"):
        simulate(SHORT, out=tmp_path / "file" / "run")


def test_a_run_without_a_request_is_no_result(tmp_path: Path) -> None:
    empty = SHORT.with_overrides({"workload.rate_rps": 1e-6})
    with pytest.raises(UserError, match=r"^workload: no request arrives"):
        simulate(empty, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_warmup_beyond_the_last_request_is_no_result() -> None:
    scenario = small_scenario(
        workload={"rate_rps": 5.0, "max_requests": 20}, run={"warmup_s": 1000.0}
    )
    with pytest.raises(UserError, match=r"^run.warmup_s: all 20 requests arrive in the warm-up"):
        simulate(scenario)


def test_a_trace_of_dates_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {
        "arrival_s": 1.7e9 + np.arange(3.0),
        "tenant": ["a"] * 3,
        "prompt_tokens": [5] * 3,
        "output_tokens": [5] * 3,
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text(
        "{name: dates, model: tiny-llama, fleet: [{gpu: a10g}], tenants: [{name: a}], "
        "workload: {trace: t.parquet}}"
    )
    assert main(["run", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert "row 1: arrival_s is 1700000000, which looks like a date" in told
    assert "simlora trace import parquet" in told
