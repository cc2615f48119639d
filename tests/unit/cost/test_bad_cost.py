"""Every mistake in the `cost` block is told in one sentence that names file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.scenario.loading import load_scenario

GOOD = """\
name: good
model: llama-3.1-8b
fleet: [{gpu: h100-80gb}]
tenants: [{name: pro}]
workload: {duration_s: 60, rate_rps: 3}
cost:
"""


@pytest.mark.parametrize(
    ("line", "field", "told"),
    [
        ("attribution: {method: fair}", "attribution.method.fair", "unknown field"),
        ("attribution: {method: {tokens: 0.5}}", "attribution.method", "must add up to 1, not 0.5"),
        ("attribution: {method: {tokens: 1.5}}", "attribution.method.tokens", "at most 1"),
        ("attribution: {idle: shared}", "attribution.idle", "own_line or spread"),
        ("attribution: {input_weight: 0, output_weight: 0}", "attribution", "more than 0"),
        ("gpu: {reserved_share: 0.7, spot_share: 0.7}", "gpu", "not add up to more than 1"),
        (
            "gpu: {spot_interruptions_per_day: 100, spot_recovery_s: 900}",
            "gpu",
            "less than a day",
        ),
        ("storage: {versions: 0}", "storage.versions", "greater than 0"),
        ("training: {examples: 5}", "training.tokens_per_example", "is missing"),
        (
            "training: {tokens_per_example: 5, utilization: 1.2}",
            "training.utilization",
            "at most 1",
        ),
        ("team: {fte: -1}", "team.fte", "at least 0"),
        ("credits: {gold: [{below: 0.9}]}", "credits.gold.0.share", "is missing"),
        ("alternatives: {lora_overhead: 1}", "alternatives.lora_overhead", "less than 1"),
        ("migration: {gpus: 5, window_days: 3}", "migration.to", "is missing"),
        ("migration: {to: a, gpus: 5, window_days: 0}", "migration.window_days", "greater than 0"),
        ("deletion: {due_days: .inf}", "deletion.due_days", "finite"),
        ("growth: {per_month: 5 %}", "growth.per_month", "5 %"),
        ("retraining: {}", "retraining", "did you mean training?"),
    ],
)
def test_mistakes_name_their_place(tmp_path: Path, line: str, field: str, told: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"{GOOD}  {line}\n")
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}:"), sentence
    assert f"cost.{field}: " in sentence, sentence
    assert told in sentence, sentence
    assert "\n" not in sentence
