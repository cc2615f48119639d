"""What is watched of a simulated run does not depend on how it is simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.calibration.runs import load_run, simulate_run
from simlora.timing.profile import Profile

SCENARIO = """\
name: watched
model: tiny-llama
fleet: [{gpu: a10g}]
tenants: [{name: team, count: 6, adapters: 1, adapter: {rank: 8}}]
workload:
  duration_s: 20
  rate_rps: 2
  prompt_tokens: {fixed: 40}
  output_tokens: {lognormal: {mean: 120, sigma: 0.5, min: 4, max: 400}}
engine:
  preset: vllm-0.8.5
  max_model_len: 1024
  memory: {max_loras: 8, max_lora_rank: 8}
"""
PROFILE: dict[str, Any] = {
    "name": "watching",
    "server": "a server",
    "gpu": "a10g",
    "model": "tiny-llama",
    "preset": "vllm-0.8.5",
    "padded": True,
    "step": {"fixed_s": 8e-3, "token_s": 2e-5, "decode_attended_s": 1e-6, "adapter_s": 5e-4},
    "provenance": {"source": "us", "rows": 3, "date": "2025-06-01", "simlora": "0.1.0"},
}


def ranges(folder: Path, *settings: str) -> dict[str, tuple[float, float]]:
    path = folder / "watched.yaml"
    path.write_text(SCENARIO, encoding="utf-8")
    run = load_run("here", path, settings, {"tpot_mean_s": 0.01})
    return dict(simulate_run(run, Profile.model_validate(PROFILE)).ranges)


@pytest.mark.parametrize("rate", [0.2, 2, 8])
def test_ranges_are_the_same_step_by_step(rate: float, tmp_path: Path) -> None:
    settings = (f"workload.rate_rps={rate}",)
    fast = ranges(tmp_path, *settings)
    slow = ranges(tmp_path, *settings, "run.fast_forward=false")
    assert fast == slow
    assert fast["attended_tokens"][1] > 40


def test_slots_and_ranks_are_ranges_of_runs_with_adapters(tmp_path: Path) -> None:
    assert ranges(tmp_path)["slots"] == ranges(tmp_path)["max_rank"] == (8, 8)
    without = ranges(tmp_path, "tenants.0.adapters=0")
    assert without["distinct_adapters"] == (0, 0)
    assert "slots" not in without and "max_rank" not in without
