"""Figures that no server has are refused, so that a simulation with them cannot go on for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.timing.profile import load_profile

LLAMA = "vllm-0.8.5-h100-64gb-llama-3.1-8b"


@pytest.mark.parametrize(
    ("part", "figures", "said"),
    [
        ("step", {"fixed_s": 1e308}, "step.fixed_s: must be at most 60, not 1e+308"),
        ("step", {"weights_s": 61}, "step.weights_s: must be at most 60, not 61"),
        ("step", {"token_s": 11}, "step.token_s: must be at most 10, not 11"),
        ("step", {"adapter_s": 1e9}, "step.adapter_s: must be at most 10, not 1000000000"),
        ("load", {"bytes_per_s": 1e-300}, "load.bytes_per_s: must be at least 1000, not 1e-300"),
        ("load", {"latency_s": 1e9}, "load.latency_s: must be at most 3600, not 1000000000"),
    ],
)
def test_absurd_figures_are_one_sentence(
    tmp_path: Path, part: str, figures: dict[str, float], said: str
) -> None:
    profile: dict[str, Any] = load_profile(LLAMA).model_dump(mode="json")
    path = tmp_path / "p.json"
    path.write_text(json.dumps(profile | {part: profile[part] | figures}), "utf-8")
    with pytest.raises(UserError) as caught:
        load_profile(path)
    assert str(caught.value).startswith(f"{path}: {said}")
