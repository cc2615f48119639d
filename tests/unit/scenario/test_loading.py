"""Scenario files load as YAML 1.2, keep their meaning when dumped, and can be overridden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simlora
from simlora.errors import UserError
from simlora.scenario import yamltext
from simlora.scenario.deployment import expand
from simlora.scenario.loading import (
    dump_resolved,
    json_schema,
    load_scenario,
    parse_setting,
    with_place,
)
from simlora.scenario.schema import Lognormal, Scenario

SCENARIOS = sorted((Path(__file__).parents[3] / "scenarios").glob("*.yaml"))
SMALL = """\
name: small
model: tiny-llama
fleet: [{gpu: l40s}]
tenants: [{name: a}]
workload: {rate_rps: 1}
"""


def load(directory: Path, text: str | bytes = SMALL, **overrides: Any) -> Scenario:
    path = directory / "scenario.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_scenario(path, {key.replace("__", "."): v for key, v in overrides.items()})


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_ready_made_scenarios_load_and_say_what_they_show(path: Path) -> None:
    scenario = load_scenario(path)
    assert expand(scenario).tenants
    assert scenario.name == path.stem
    assert path.read_text().startswith("# Shows: ")


def test_the_quickstart_is_short() -> None:
    (quickstart,) = (path for path in SCENARIOS if path.stem == "quickstart")
    assert len(quickstart.read_text().splitlines()) < 25


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_resolved_scenario_loads_back_equal(path: Path, tmp_path: Path) -> None:
    scenario = load_scenario(path)
    text = dump_resolved(scenario, "simlora 0.1.0\nprofile roofline")
    assert text.startswith("# simlora 0.1.0\n# profile roofline\n")
    again = load(tmp_path, text)
    assert again == scenario
    assert dump_resolved(again) in text


def test_every_form_of_a_field_survives_a_dump(tmp_path: Path) -> None:
    text = SMALL.replace("workload: {rate_rps: 1}", "") + (
        "workload: {trace: traces/a.parquet, duration_s: 1e-3}\n"
        "model: {name: my, weights: int4}\n".replace("model", "description: 1.5e3x\n#")
        + "catalog: {gpus: {g: {base: h200, usd_per_hour: 1}}}\n"
    )
    scenario = load(tmp_path, text)
    assert load(tmp_path, dump_resolved(scenario)) == scenario
    assert scenario.workload.duration_s == 0.001


TEXTS = st.one_of(
    st.sampled_from(
        ["1e-3", "yes", "~", "null", "0x1F", "012", "1_000", ".inf", "- a", "a: b", ""]
    ),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20),
)
DATA = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), TEXTS)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@given(DATA)
def test_whatever_is_dumped_reads_back_the_same(data: Any) -> None:
    assert yamltext.parse(yamltext.dump(data), "text")[0] == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E6", 1e6),
        (".5", 0.5),
        ("-3", -3),
        ("1_000", 1000),
        ("010", 10),
        ("yes", "yes"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("'12'", "12"),
        ("~", None),
        ("", None),
        ("{gamma: {cv: 2}}", {"gamma": {"cv": 2}}),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert parse_setting(f"key={text}") == ("key", value)


def test_windows_files_read_like_others(tmp_path: Path) -> None:
    plain = load(tmp_path)
    assert load(tmp_path, SMALL.replace("\n", "\r\n")) == plain
    assert load(tmp_path, b"\xef\xbb\xbf" + SMALL.encode()) == plain


def test_anchors_and_aliases_may_be_used(tmp_path: Path) -> None:
    text = SMALL.replace(
        "tenants: [{name: a}]",
        "tenants:\n  - {name: a, adapter: &small {rank: 8}}\n  - {name: b, adapter: *small}",
    )
    assert [group.adapter.rank for group in load(tmp_path, text).tenants] == [8, 8]


def test_files_are_found_beside_the_scenario(tmp_path: Path) -> None:
    text = SMALL.replace("{rate_rps: 1}", "{trace: t.parquet}")
    assert load(tmp_path, text).workload.trace == str(tmp_path / "t.parquet")
    text = SMALL.replace(
        "{rate_rps: 1}", "{rate_rps: 1, prompt_tokens: {empirical: sub/t.parquet}}"
    )
    assert load(tmp_path, text).model_dump()["workload"]["prompt_tokens"] == {
        "empirical": str(tmp_path / "sub/t.parquet")
    }


def test_files_in_overrides_are_found_from_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scenarios").mkdir()
    monkeypatch.chdir(tmp_path)
    changed = load(tmp_path / "scenarios", workload={"trace": "t.parquet"})
    assert changed.workload.trace == str(tmp_path / "t.parquet")


def test_overrides_reach_fields_that_the_file_leaves_out(tmp_path: Path) -> None:
    changed = load(
        tmp_path,
        fleet__0__replicas=3,
        engine__memory__utilization=0.5,
        model__weights="fp8",
        tiers__gold__weight=2,
    )
    assert changed.fleet[0].replicas == 3
    assert changed.engine.memory.utilization == 0.5
    assert (changed.model.name, changed.model.weights) == ("tiny-llama", "fp8")
    assert changed.tiers["gold"].weight == 2


def test_an_override_may_change_the_form_of_a_field(tmp_path: Path) -> None:
    scenario = load(tmp_path)
    fixed = scenario.with_overrides({"workload.prompt_tokens.fixed": 128})
    assert fixed.model_dump()["workload"]["prompt_tokens"] == {"fixed": 128}
    normal = fixed.with_overrides(
        {"workload.prompt_tokens": {"lognormal": {"mean": 9, "sigma": 1}}}
    )
    assert isinstance(normal.workload.prompt_tokens, Lognormal)
    wider = normal.with_overrides({"workload.prompt_tokens.lognormal.sigma": 2})
    assert isinstance(wider.workload.prompt_tokens, Lognormal)
    assert wider.workload.prompt_tokens.lognormal.mean == 9


def test_overriding_leaves_the_scenario_itself_alone(tmp_path: Path) -> None:
    scenario = load(tmp_path)
    changed = scenario.with_overrides({"fleet.0.replicas": 2, "seed": 7})
    assert (scenario.fleet[0].replicas, scenario.seed) == (1, 0)
    assert (changed.fleet[0].replicas, changed.seed) == (2, 7)
    assert scenario.with_overrides({}) == scenario


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fleet.0.replica", 2, "fleet.0.replica: unknown field; did you mean replicas?"),
        ("flet.0.replicas", 2, "flet: unknown field; did you mean fleet?"),
        ("fleet.replicas", 2, "fleet is a list, its first entry is fleet.0"),
        ("fleet.1.replicas", 2, "fleet has 1 entry, numbered from 0, so there is no 1"),
        ("fleet.all.replicas", 2, "fleet is a list, its first entry is fleet.0"),
        ("name.x", 2, 'name is "small" and has no fields of its own'),
        ("fleet..gpu", 2, "empty part"),
        ("fleet.0.replicas", "2", 'fleet.0.replicas: must be a whole number, not the text "2"'),
        ("engine.max_num_seqs", 9000, "engine.max_num_batched_tokens: must be at least"),
    ],
)
def test_a_bad_override_is_one_sentence(tmp_path: Path, key: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path).with_overrides({key: value})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["fleet", "=3", "  =3"])
def test_a_setting_needs_key_and_value(setting: str) -> None:
    with pytest.raises(UserError, match="--set takes key=value"):
        parse_setting(setting)


def test_the_json_schema_knows_every_block_and_the_short_form_of_model() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Scenario.model_fields)
    assert schema["additionalProperties"] is False
    assert {"type": "string"} in schema["properties"]["model"]["anyOf"]


def test_the_package_offers_what_the_readme_uses() -> None:
    assert simlora.load_scenario is load_scenario
    assert simlora.Scenario is Scenario
    assert "simulate" in dir(simlora)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = simlora.nonsense


@pytest.mark.parametrize(
    ("sentence", "placed"),
    [
        ("fleet.0.gpu: too small", "{file}:3: fleet.0.gpu: too small"),
        ("gateway.routing: unknown", "{file}:1: gateway.routing: unknown"),
        ("workload.rate_rps: too high", "--set workload.rate_rps: too high"),
        ("trace.parquet: truncated", "trace.parquet: truncated"),
    ],
)
def test_a_mistake_found_later_still_gets_its_place(
    tmp_path: Path, sentence: str, placed: str
) -> None:
    load(tmp_path)
    file = tmp_path / "scenario.yaml"
    error = with_place(UserError(sentence), file, ["workload.rate_rps"])
    assert str(error) == placed.format(file=file)
