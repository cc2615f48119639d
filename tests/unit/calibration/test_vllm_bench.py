"""The JSON of `vllm bench serve --save-result` becomes runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simlora.calibration.vllm_bench import read_bench
from simlora.errors import UserError

SCENARIO = """\
name: tiny
model: tiny-llama
fleet: [{gpu: a10g}]
tenants: [{name: team, count: 4}]
workload: {rate_rps: 1, duration_s: 60}
engine: {preset: vllm-0.8.5, max_model_len: 1024, max_num_seqs: 64}
"""
RESULT: dict[str, Any] = {
    "date": "20250501-120000",
    "backend": "vllm",
    "model_id": "tiny",
    "num_prompts": 200,
    "request_rate": 4.0,
    "burstiness": 1.0,
    "max_concurrency": None,
    "duration": 51.0,
    "completed": 200,
    "total_input_tokens": 20_000,
    "total_output_tokens": 12_000,
    "request_throughput": 3.92,
    "request_goodput:": None,
    "output_throughput": 235.3,
    "total_token_throughput": 627.5,
    "mean_ttft_ms": 41.0,
    "median_ttft_ms": 38.0,
    "p99_ttft_ms": 90.0,
    "mean_tpot_ms": 12.5,
    "mean_itl_ms": 12.4,
}


def saved(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT | changes), encoding="utf-8")
    return path


def test_figures_and_traffic(tmp_path: Path) -> None:
    (run,), warnings = read_bench(saved(tmp_path), tmp_path / "tiny.yaml")
    assert run.measured["tpot_mean_s"] == pytest.approx(0.0125)
    assert run.measured["ttft_mean_s"] == pytest.approx(0.041)
    assert run.measured["total_tokens_per_s"] == 627.5
    assert run.measured["input_tokens_mean"] == 100
    workload = run.scenario.workload
    assert (workload.rate_rps, workload.max_requests, workload.duration_s) == (4.0, 200, None)
    assert warnings == []


def test_metadata_names_the_scenario_and_changes_it(tmp_path: Path) -> None:
    metadata = {"scenario": "tiny.yaml", "engine.memory.max_loras": "8"}
    (run,), _ = read_bench(saved(tmp_path, **metadata), None)
    assert run.scenario.engine.memory.max_loras == 8


def test_everything_at_once_under_a_concurrency(tmp_path: Path) -> None:
    path = saved(tmp_path, request_rate="inf", max_concurrency=16)
    (run,), warnings = read_bench(path, tmp_path / "tiny.yaml")
    assert run.scenario.workload.rate_rps == 1e6
    assert run.scenario.engine.max_num_seqs == 16
    assert "ttft_mean_s" not in run.measured
    assert "max_concurrency 16 is taken as engine.max_num_seqs" in warnings[0]
    assert "the time to first token is not compared" in warnings[1]


@pytest.mark.parametrize(
    ("changes", "held_back"),
    [
        ({"max_concurrency": 128}, False),  # three requests are in flight on average
        ({"max_concurrency": 200, "request_rate": "inf"}, False),  # all requests there are
        ({"max_concurrency": 128, "request_rate": "inf"}, True),
        ({"max_concurrency": 128, "mean_e2el_ms": 30_000.0}, True),  # 118 in flight
    ],
)
def test_a_client_that_allows_more_than_the_server_leaves_it_its_limit(
    tmp_path: Path, changes: dict[str, Any], held_back: bool
) -> None:
    (run,), warnings = read_bench(saved(tmp_path, **changes), tmp_path / "tiny.yaml")
    assert run.scenario.engine.max_num_seqs == 64
    assert ("ttft_mean_s" not in run.measured) == held_back
    assert ("e2e_mean_s" not in run.measured) or not held_back
    assert [warning for warning in warnings if "not compared" in warning] == warnings
    assert bool(warnings) == held_back


@pytest.mark.parametrize("failed", [{"failed": 50}, {}])
def test_a_run_is_simulated_without_the_requests_that_failed(
    tmp_path: Path, failed: dict[str, int]
) -> None:
    path = saved(tmp_path, num_prompts=200, completed=150, **failed)
    (run,), (warning,) = read_bench(path, tmp_path / "tiny.yaml")
    assert run.scenario.workload.max_requests == 150
    assert "50 requests failed; the run is simulated without them" in warning


def test_bursts(tmp_path: Path) -> None:
    (run,), _ = read_bench(saved(tmp_path, burstiness=0.25), tmp_path / "tiny.yaml")
    assert run.scenario.workload.model_dump()["arrivals"] == {"gamma": {"cv": 2.0}}


def test_appended_results(tmp_path: Path) -> None:
    path = saved(tmp_path)
    line = path.read_text()
    path.write_text(f"{line}\n{line}\n")
    runs, _ = read_bench(path, tmp_path / "tiny.yaml")
    assert [run.place.rpartition(":")[2] for run in runs] == ["1", "2"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"completed": 0}, "completed: no request completed, so nothing was measured"),
        ({"mean_tpot_ms": -1.0}, "mean_tpot_ms: must be a finite number of at least 0, not -1.0"),
        ({"mean_tpot_ms": float("nan")}, "mean_tpot_ms: must be a finite number of at least 0"),
        ({"mean_ttft_ms": "41"}, 'mean_ttft_ms: must be a number, not "41"'),
        ({"mean_tpot_ms": None, "mean_itl_ms": 0}, "mean_tpot_ms: is missing, and so is mean_itl"),
        ({"mean_tpot_ms": 10**400}, "mean_tpot_ms: must be a finite number of at least 0"),
        ({"mean_tpot_ms": 1e300}, "mean_tpot_ms: must be at most 3.6e+06, not 1e+300"),
        ({"mean_itl_ms": 1e-320}, "mean_itl_ms: must be at least 0.0001, not 9.99989e-321"),
        ({"completed": 1.5}, "completed: must be a whole number, not 1.5"),
        ({"request_rate": 0}, "request_rate: must be greater than 0 or inf, not 0"),
        ({"engine.max_num_sequences": "4"}, "unknown field"),
        ({"fleet.0.replicas": "2"}, "fleet: a run to fit has one replica"),
    ],
)
def test_bad_results(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    path = saved(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        read_bench(path, tmp_path / "tiny.yaml")
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "result.json:1: is not valid JSON"),
        ("[" * 200_000, "result.json: is not valid JSON"),
        ('{"completed": 1' + "0" * 5000 + "}", "result.json: is not valid JSON"),
        ("{}\n" + "[" * 200_000, "result.json: is not valid JSON"),
        ("[1]", "is no result of vllm bench serve"),
        ('{"mean_tpot_ms": 3}', "is no result of vllm bench serve"),
        (json.dumps(RESULT), "name its scenario with --scenario FILE"),
    ],
)
def test_files_that_are_no_result(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        read_bench(path, None)
