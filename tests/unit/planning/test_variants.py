"""Variants from files and from --vary."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.planning.axes import parse_values
from simlora.planning.variants import variants_of_files, variants_of_grid

SCENARIO = """\
name: base
model: tiny-llama
fleet: [{gpu: l40s}]
tenants: [{name: t, count: 4}]
workload: {rate_rps: 1}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("k=a,b", ["a", "b"]),
        ("k=1,2.5,1e3", [1, 2.5, 1000.0]),
        (" k =true,null", [True, None]),
        (
            "k={fixed: 3},{uniform: {min: 1, max: 2}}",
            [{"fixed": 3}, {"uniform": {"min": 1, "max": 2}}],
        ),
        ("k=[],[a, b]", [[], ["a", "b"]]),
        ("k='a,b',c", ["a,b", "c"]),
        ("k=measured:Mine,roofline", ["measured:Mine", "roofline"]),
    ],
)
def test_values_are_yaml_between_commas(text: str, values: list[object]) -> None:
    assert parse_values(text, "--vary") == ("k", values)


def test_a_grid_is_every_combination(scenario: Path) -> None:
    made = variants_of_grid(scenario, ["fleet.0.replicas=1,2", "workload.rate_rps=3,0.5"])
    assert [variant.name for variant in made] == ["1, 3", "1, 0.5", "2, 3", "2, 0.5"]
    assert made[1].settings == {"fleet.0.replicas": 1, "workload.rate_rps": 0.5}
    assert made[2].scenario.fleet[0].replicas == 2
    assert made[2].scenario.workload.rate_rps == 3


@pytest.mark.parametrize(
    ("variations", "said"),
    [
        (["fleet.0.replicas"], "--vary takes key=a,b,c"),
        (["=1,2"], "--vary takes key=a,b,c"),
        (["seed=1,2"], "--vary seed: every variant runs on the same seeds"),
        (["fleet.0.replicas="], "--vary fleet.0.replicas: has no value"),
        (["fleet.0.replicas=1,["], "--vary fleet.0.replicas:1: is not valid YAML"),
        (["fleet.0.replicas=1,many"], "--vary fleet.0.replicas: must be a whole number"),
        (["fleet.0.gpus=1,2"], "--vary fleet.0.gpus: unknown field"),
        (["fleet.0.replicas=1,2", "fleet.0.replicas=3"], "is given twice"),
        (["adapters.hot={}", "adapters.hot.eviction=lru"], "cannot be varied beside adapters.hot"),
        (["fleet.0.replicas=2,2"], "2 and 2 give the same scenario"),
        (["workload.rate_rps=1,1.0"], "1 and 1 give the same scenario"),
    ],
)
def test_a_mistake_is_one_sentence(scenario: Path, variations: list[str], said: str) -> None:
    with pytest.raises(UserError) as told:
        variants_of_grid(scenario, variations)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_files_are_called_by_their_scenarios_names_if_those_differ(scenario: Path) -> None:
    other = scenario.with_name("other.yaml")
    other.write_text(SCENARIO.replace("base", "other"))
    assert [v.name for v in variants_of_files([scenario, other])] == ["base", "other"]
    other.write_text(SCENARIO)
    assert [v.name for v in variants_of_files([scenario, other])] == [str(scenario), str(other)]


def test_a_file_given_twice_is_a_mistake(scenario: Path) -> None:
    with pytest.raises(UserError, match="is given twice"):
        variants_of_files([scenario, scenario])
