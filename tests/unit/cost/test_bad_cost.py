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
        ("prices: {golden: {}}", "prices.golden", 'unknown tier "golden"'),
        ("credits: {golden: []}", "credits.golden", 'unknown tier "golden"'),
        ("evaluation_usd_each: 5", "evaluation_usd_each", "needs cost.training"),
        ("density: {gpus: [l40s, h101]}", "density.gpus.1", 'no GPU "h101"'),
        ("density: {models: [llama]}", "density.models.0", 'no model "llama"'),
        (
            "training: {tokens_per_example: 5, utilization: 0.2, gpu: h101}",
            "training.gpu",
            'no GPU "h101"',
        ),
        (
            "alternatives: {full_training: {tokens_per_example: 5, utilization: 0.2, gpu: h101}}",
            "alternatives.full_training.gpu",
            'no GPU "h101"',
        ),
        (
            "migration: {to: llama, gpus: 4, window_days: 3}",
            "migration.to",
            'no model "llama"',
        ),
        (
            "migration: {to: qwen2.5-7b, gpus: 4, window_days: 3}",
            "migration",
            "needs gpu_hours_each, or cost.training",
        ),
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


def test_a_migration_on_fewer_gpus_than_a_training_takes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        f"{GOOD}  training: {{tokens_per_example: 5, utilization: 0.2}}\n"
        "  migration: {to: qwen2.5-7b, gpus: 3, window_days: 3}\n"
    )
    with pytest.raises(
        UserError, match=r"bad\.yaml:8: cost\.migration\.gpus: 3 are less than the 4"
    ):
        load_scenario(path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("cost.prices.golden.usd_per_million_input_tokens", 3),
        ("cost.density.gpus", ["h101"]),
        ("cost.density.models", ["llama"]),
        ("cost.training", {"tokens_per_example": 5, "utilization": 0.2, "gpu": "h101"}),
        ("cost.migration", {"to": "llama", "gpus": 4, "window_days": 3}),
    ],
)
def test_a_mistake_in_an_option_is_told_of_the_option(
    tmp_path: Path, setting: str, value: object
) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    with pytest.raises(UserError) as caught:
        load_scenario(path, {setting: value}, option="--set ")
    named = ".".join(setting.split(".")[:3])
    assert str(caught.value).startswith(f"--set {named}"), caught.value
