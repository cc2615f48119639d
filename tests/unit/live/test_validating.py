"""`simlora validate SIMULATED LIVE`, on a scenario that was run both ways."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from simlora.cli.main import main
from simlora.errors import UserError
from simlora.live.records import read_rows
from simlora.live.replay import replay
from simlora.results import files
from simlora.results.files import DECISIONS
from simlora.results.result import load_result
from tests.unit.live.living import CONFIG

YAML = """
name: both
model: {model}
fleet: [{{gpu: cpu}}]
tenants: [{{name: tenant, count: 4, adapter: {{rank: 4}}}}]
workload:
  {{duration_s: null, max_requests: 20, rate_rps: 30, prompt_tokens: {{fixed: 8}},
    output_tokens: {{fixed: 8}}}}
engine: {{max_model_len: 64, max_num_seqs: 4, memory: {{kv_cache_tokens: 1024}}}}
adapters: {{hot: {{max_adapters: 2}}}}
timing: {{profile: roofline}}
run: {{report: false}}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    scenario = folder / "both.yaml"
    scenario.write_text(YAML.format(model=folder / "config.json"))
    assert main(["run", str(scenario), "--out", str(folder / "simulated")]) == 0
    assert main(["live", str(scenario), "--device", "cpu", "--out", str(folder / "live")]) == 0
    return folder


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main(["validate", *arguments]) == 0
    return capsys.readouterr().out


def test_each_figure_is_told_with_its_error(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulated, live = str(results / "simulated"), str(results / "live")
    figures = json.loads(told(capsys, simulated, live, "--json"))
    for metric in (
        "throughput.output_tokens_per_s",
        "latency.ttft_s.p50",
        "latency.tpot_s.mean",
        "latency.e2e_s.p99",
        "adapters.hit_ratio",
        "adapters.loads",
    ):
        entry = figures[metric]
        assert entry["error"] == pytest.approx(entry["predicted"] / entry["measured"] - 1)
    assert figures["requests.completed"]["error"] == 0.0
    assert "first_different_decision" not in figures, "the simulation has no log of decisions"


def test_two_logs_are_compared_decision_by_decision(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, other = results / "live", tmp_path / "other"
    shutil.copytree(live, other)
    assert "all decisions are the same" in told(capsys, str(live), str(other))
    assert (
        json.loads(told(capsys, str(live), str(other), "--json"))["first_different_decision"]
        is None
    )
    lines = (other / DECISIONS).read_text().splitlines()
    changed = json.loads(lines[4]) | {"decision": "changed"}
    (other / DECISIONS).write_text("\n".join([*lines[:4], json.dumps(changed), *lines[5:], ""]))
    text = told(capsys, str(live), str(other))
    assert "the first decision that differs is line 5" in text
    assert '"decision":"changed"' in text
    assert "on the other side of a step" in text
    difference = json.loads(told(capsys, str(live), str(other), "--json"))[
        "first_different_decision"
    ]
    assert (difference["line"], difference["measured"]) == (5, changed)


def test_the_simulations_log_is_compared_with_the_live_runs(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Time passes otherwise in the two, so at some line they part; both begin alike."""
    scenario, logs = str(results / "both.yaml"), []
    for name in ("simulated", "again"):
        logs.append(str(tmp_path / name))
        assert main(["run", scenario, "--set", "run.decisions=true", "--out", logs[-1]]) == 0
    assert "all decisions are the same" in told(capsys, *logs)
    figures = json.loads(told(capsys, logs[0], str(results / "live"), "--json"))
    difference = figures["first_different_decision"]
    assert difference is None or difference["line"] > 2


def test_a_saved_live_result_is_whole(results: Path, tmp_path: Path) -> None:
    copy = load_result(results / "live").save(tmp_path / "copy")
    assert {path.name for path in copy.iterdir()} == {
        path.name for path in (results / "live").iterdir()
    }
    assert replay(copy) is None


def test_a_table_for_calibration_is_saved_with_the_result(results: Path, tmp_path: Path) -> None:
    measured = tmp_path / "measured"
    shutil.copytree(results / "live", measured)
    (measured / "runs.csv").write_text("scenario,tpot_mean_s\n")
    copy = load_result(measured).save(tmp_path / "copy")
    assert (copy / "runs.csv").read_text() == "scenario,tpot_mean_s\n"
    load_result(results / "live").save(copy)
    assert not (copy / "runs.csv").exists()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.unlink, "cannot be read: No such file or directory"),
        (lambda path: path.write_text("no"), "is no Parquet file: "),
        (lambda path: shutil.copy(path.with_name(files.TENANTS), path), "has no column kind"),
    ],
)
def test_a_replay_tells_why_it_cannot_read_the_steps(
    results: Path, tmp_path: Path, make: Callable[[Path], object], why: str
) -> None:
    other = tmp_path / "other"
    shutil.copytree(results / "live", other)
    make(other / files.STEPS)
    with pytest.raises(UserError, match=why) as told:
        replay(other)
    assert str(told.value).startswith(f"{other / files.STEPS}: ")


def test_a_record_from_before_a_column_was_there_is_read(results: Path, tmp_path: Path) -> None:
    path = results / "live" / files.STEPS
    older = tmp_path / files.STEPS
    pq.write_table(pq.read_table(path).drop_columns(["final"]), older)
    assert read_rows(older) == read_rows(path)


def test_a_simulation_in_a_live_runs_directory_leaves_nothing_of_it(
    results: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(results / "live", out)
    assert main(["run", str(results / "both.yaml"), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        path.name for path in (results / "simulated").iterdir()
    }


def test_a_result_directory_can_be_replayed_by_itself(results: Path, tmp_path: Path) -> None:
    assert replay(results / "live") is None
    other = tmp_path / "other"
    shutil.copytree(results / "live", other)
    lines = (other / DECISIONS).read_text().splitlines()
    (other / DECISIONS).write_text("\n".join([*lines[:7], *lines[8:], ""]))
    difference = replay(other)
    assert difference is not None
    assert difference[0] == 8
