"""The same seed gives the same bytes, in every process; another seed gives another run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SCENARIO = """
name: determinism
model: tiny-llama
fleet:
  - {gpu: a10g, replicas: 3}
tenants:
  - {name: pro, count: 5, tier: gold, adapters: 2}
  - {name: free, count: 40, adapter: {rank: 4, targets: qv}}
workload:
  rate_rps: 150
  duration_s: 4
  arrivals: {sessions: {shared_prefix_tokens: 64, think_time_s: 0.5, max_context_tokens: 2048}}
engine:
  memory: {mode: slots, max_loras: 4, max_lora_rank: 16}
adapters: {warm: {capacity_gb: 0.01}}
gateway:
  routing: adapter_affinity
  rate_limits: {gold: {rps: 2, burst: 3, over_limit: delay}}
tiers:
  gold: {weight: 5, sla: {ttft_p99_s: 0.1}}
"""


def simulate(scenario: Path, out: Path, hash_seed: str, *options: str) -> Path:
    subprocess.run(
        [sys.executable, "-m", "simlora", "run", scenario, "--out", out, "--no-report", *options],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run, the run under another hash seed, under another seed, and from its resolved
    scenario."""
    place = tmp_path_factory.mktemp("determinism")
    scenario = place / "scenario.yaml"
    scenario.write_text(SCENARIO)
    first = simulate(scenario, place / "first", "0")
    return {
        "first": first,
        "hash seed": simulate(scenario, place / "hash-seed", "12345"),
        "other seed": simulate(scenario, place / "other-seed", "0", "--seed", "1"),
        "resolved": simulate(first / "scenario.resolved.yaml", place / "resolved", "77"),
    }


def summary(run: Path) -> dict[str, Any]:
    """All of it but how long the run took."""
    loaded: dict[str, Any] = json.loads((run / "summary.json").read_text())
    del loaded["simulation"]["wall_s"], loaded["simulation"]["requests_per_wall_s"]
    return loaded


def summary_lines(run: Path) -> list[str]:
    lines = (run / "summary.json").read_text().splitlines()
    return [line for line in lines if "wall_s" not in line]


@pytest.mark.parametrize("other", ["hash seed", "resolved"])
def test_the_same_seed_gives_the_same_bytes(runs: dict[str, Path], other: str) -> None:
    first, second = runs["first"], runs[other]
    assert summary_lines(first) == summary_lines(second)
    for name in ("requests.parquet", "tenants.parquet", "timeline.parquet"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_resolved_scenario_resolves_to_itself(runs: dict[str, Path]) -> None:
    name = "scenario.resolved.yaml"
    assert (runs["first"] / name).read_bytes() == (runs["resolved"] / name).read_bytes()


def test_another_seed_gives_another_run(runs: dict[str, Path]) -> None:
    first, second = runs["first"], runs["other seed"]
    assert (first / "requests.parquet").read_bytes() != (second / "requests.parquet").read_bytes()
    assert summary(first)["latency"] != summary(second)["latency"]


def test_the_compared_run_has_something_to_disagree_about(runs: dict[str, Path]) -> None:
    facts = summary(runs["first"])
    assert facts["requests"]["completed"] > 400
    assert facts["adapters"]["evictions"] > 0
    assert facts["prefix_cache"]["hit_tokens"] > 0
