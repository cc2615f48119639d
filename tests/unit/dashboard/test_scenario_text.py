"""Scenarios as YAML and in links."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest

from simlora import UserError, load_scenario
from simlora.dashboard.limits import check_self_contained
from simlora.dashboard.scenario_text import (
    as_code,
    as_yaml,
    from_code,
    scenario_from_bytes,
    scenario_from_text,
)
from simlora.dashboard.state import default_text

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(ROOT.glob("scenarios/*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_yaml_without_defaults_loads_back_as_the_same_scenario(file: Path, tmp_path: Path) -> None:
    scenario = load_scenario(file)
    kept = tmp_path / "kept.yaml"
    kept.write_text(as_yaml(scenario))
    assert load_scenario(kept) == scenario


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_link_restores_every_shipped_scenario(file: Path) -> None:
    scenario = load_scenario(file)
    code = as_code(scenario)
    assert from_code(code) == scenario
    assert len(code) < 1000


def test_fields_that_undo_a_preset_survive() -> None:
    scenario = scenario_from_text(default_text(), "default").with_overrides(
        {
            "adapters.hot.max_adapters": None,
            "engine": {
                "preset": "vllm-0.8.5",
                "memory": {"max_lora_rank": 32},
                "prefix_cache": {"enabled": True},
            },
        }
    )
    assert scenario.engine.memory.mode == "slots"  # of the preset
    assert scenario.engine.prefix_cache.enabled  # and this is not
    assert from_code(as_code(scenario)) == scenario


@pytest.mark.parametrize("code", ["", "!!!", "AAAA", "====", "x" * 5000, "ü", "S0xI"])
def test_a_damaged_link_is_a_mistake_in_one_sentence(code: str) -> None:
    with pytest.raises(UserError, match="this link") as raised:
        from_code(code)
    assert "\n" not in str(raised.value)


def test_a_cut_link_is_a_mistake() -> None:
    code = as_code(scenario_from_text(default_text(), "default").with_overrides({"seed": 71}))
    for end in range(0, len(code), 7):
        with pytest.raises(UserError, match="this link"):
            from_code(code[:end])


def test_a_link_that_would_unpack_to_gigabytes_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b" " * 50_000_000) + packer.flush()
    code = base64.urlsafe_b64encode(packed).decode()
    with pytest.raises(UserError, match="this link"):
        from_code(code)


def test_a_link_that_is_nested_deeply_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"[" * 500 + b"]" * 500) + packer.flush()
    with pytest.raises(UserError, match="this link"):
        from_code(base64.urlsafe_b64encode(packed).decode())


def test_errors_of_an_upload_name_the_uploaded_file_and_its_line() -> None:
    text = default_text().replace("rate_rps: 8", "rate_rps: fast")
    with pytest.raises(UserError, match=r"^mine\.yaml:\d+: workload\.rate_rps") as raised:
        scenario_from_text(text, "mine.yaml")
    assert "/tmp" not in str(raised.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(UserError, match="is not UTF-8"):
        scenario_from_bytes(b"\xff\xfe\x00", "mine.yaml")
    with pytest.raises(UserError, match="is larger than"):
        scenario_from_bytes(b"#" * 300_000, "mine.yaml")


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("rate_rps: 8", "trace: /etc/passwd", "workload.trace"),
        ("model: llama-3.1-8b", "model: /etc/model/config.json", "model"),
        ("model: llama-3.1-8b", "model: {name: ../config.json}", "model.name"),
        ("engine: {", "timing: {profile: ../../secret.json}\nengine: {", "timing.profile"),
        ("hot:  {", "hot:  {eviction: 'os:system', ", "adapters.hot.eviction"),
        ("engine: {", "gateway: {routing: 'a.b:C'}\nengine: {", "gateway.routing"),
        ("engine: {", "timing: {profile: 'a.b:C'}\nengine: {", "timing.profile"),
        ("engine: {", "engine: {scheduler: {order: 'a.b:C'}, ", "engine.scheduler.order"),
        ("rate_rps: 8", "rate_rps: 8\n  arrivals: 'a.b:C'", "workload.arrivals"),
        (
            "engine: {",
            "cost: {migration: {to: /etc/model.json, gpus: 1, window_days: 1}}\nengine: {",
            "cost.migration.to",
        ),
        (
            "engine: {",
            "cost: {density: {models: [/etc/passwd]}}\nengine: {",
            "cost.density.models.0",
        ),
        (
            "rate_rps: 8",
            "rate_rps: 8\n  prompt_tokens: {empirical: /etc/passwd}",
            "workload.prompt_tokens.empirical",
        ),
    ],
)
def test_an_upload_may_name_neither_files_nor_classes_of_the_server(
    old: str, new: str, field: str
) -> None:
    text = default_text()
    if "prompt_tokens" in new:
        text = "\n".join(line for line in text.splitlines() if "prompt_tokens" not in line)
    assert old in text
    with pytest.raises(UserError, match=f"mine.yaml: {field}: names a "):
        scenario_from_text(text.replace(old, new, 1), "mine.yaml")


def test_what_shipped_scenarios_say_is_no_file_and_no_class() -> None:
    refused = []
    for file in SHIPPED:
        scenario = load_scenario(file)
        try:
            check_self_contained(scenario.model_dump(mode="json"), file.stem)
        except UserError:
            refused.append(file.stem)
    assert refused in ([], ["live-tiny"])
