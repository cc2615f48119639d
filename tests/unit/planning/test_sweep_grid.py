"""Grids and lists: which points they ask for, and which mistakes are told before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.planning.sweep_grid import Axis, Base, parse_axis, plan_sweep
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import Scenario
from tests.unit.planning.sweeping import scenario_file

SCENARIOS = sorted(Path("scenarios").glob("*.yaml"))


def test_values_of_an_axis_are_yaml() -> None:
    assert parse_axis("a.b=1,2.5,true,null,text,{fixed: 64}") == Axis(
        "a.b", (1, 2.5, True, None, "text", {"fixed": 64})
    )
    assert parse_axis("a=1,true").values == (1, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a", "--grid takes key=a,b,c"),
        ("=1", "--grid takes key=a,b,c"),
        ("a=", "--grid a: has no value"),
        ("a=1,2,1", "--grid a: 1 is given twice"),
        ("a=[", "--grid a:1: is not valid YAML"),
    ],
)
def test_a_mistake_in_an_axis_is_one_sentence(text: str, told: str) -> None:
    with pytest.raises(UserError, match=f"^{told}".replace("[", r"\[")):
        parse_axis(text)


def test_points_are_all_combinations_on_the_same_seeds_the_last_key_changing_fastest(
    tmp_path: Path,
) -> None:
    plan = plan_sweep(
        scenario_file(tmp_path),
        ["workload.rate_rps=5,10", "adapters.hot.max_adapters=1,2"],
        replications=2,
    )
    points = [point for point, _ in plan.points()]
    assert len(plan) == len(points) == 8
    assert [tuple(point.settings.values()) for point in points[::2]] == [
        (5, 1),
        (5, 2),
        (10, 1),
        (10, 2),
    ]
    assert [(point.index, point.replication, point.seed) for point in points[:4]] == [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, 0),
        (1, 1, 1),
    ]
    assert len({point.hash for point in points}) == 8


def test_points_are_made_only_when_they_are_asked_for(tmp_path: Path) -> None:
    values = ",".join(map(str, range(1, 1001)))
    axes = [f"{key}={values}" for key in ("workload.rate_rps", "adapters.hot.max_adapters")]
    plan = plan_sweep(scenario_file(tmp_path), axes, replications=10_000)
    assert len(plan) == 10**10
    point, scenario = next(plan.points())
    assert scenario is not None
    assert scenario.workload.rate_rps == 1.0
    assert point.settings == {"workload.rate_rps": 1, "adapters.hot.max_adapters": 1}


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 7, "engine.max_num_seqs": 17},
        {"fleet.0.replicas": 9},
        {"workload.output_tokens": {"fixed": 7}},
        {"engine.memory.utilization": 0.7},
        {"engine.preset": "vllm-0.8.5", "engine.max_num_seqs": 300},
        {"adapters.hot.eviction": "lru", "tenants.0.count": 3},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_a_point_is_what_loading_the_file_with_its_settings_gives(
    file: Path, settings: dict[str, Any]
) -> None:
    def told(make: Callable[[], Scenario]) -> Scenario | str:
        try:
            return make()
        except UserError as error:
            return str(error)

    made = told(lambda: Base(file).with_settings(settings, "--grid "))
    assert made == told(lambda: load_scenario(file, settings, option="--grid "))


def test_a_list_has_settings_and_scenario_files_under_all_values_of_the_grid(
    tmp_path: Path,
) -> None:
    other = tmp_path / "lists" / "other.yaml"
    other.parent.mkdir()
    other.write_text(scenario_file(tmp_path).read_text().replace("name: small", "name: other"))
    listed = other.parent / "points.yaml"
    listed.write_text("- {workload.rate_rps: 5, workload.duration_s: 3}\n- other.yaml\n")
    plan = plan_sweep(scenario_file(tmp_path), ["adapters.hot.max_adapters=1,2"], listed)
    told = [(p.scenario, dict(p.settings)) for p, _ in plan.points()]
    set_there = {"workload.rate_rps": 5, "workload.duration_s": 3}
    assert told == [
        ("small", {**set_there, "adapters.hot.max_adapters": 1}),
        ("small", {**set_there, "adapters.hot.max_adapters": 2}),
        ("other", {"adapters.hot.max_adapters": 1}),
        ("other", {"adapters.hot.max_adapters": 2}),
    ]
    assert plan.keys == ("workload.rate_rps", "workload.duration_s", "adapters.hot.max_adapters")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1", "points.yaml: must be a YAML list of points"),
        ("[]", "points.yaml: must be a YAML list of points"),
        ("- {model: tiny-llama}\n- 3", "points.yaml:2: a point is a mapping"),
        ("- nowhere.yaml", "nowhere.yaml: no such file"),
        ("- {model: tiny-llama}\n- {workload.rate_rps: 1}", "--grid workload.rate_rps: is set by"),
        ("- {workload: {rate_rps: 1}}", "cannot be varied beside workload, they overlap"),
    ],
)
def test_a_mistake_in_a_list_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    listed = tmp_path / "points.yaml"
    listed.write_text(text)
    with pytest.raises(UserError, match=told):
        plan_sweep(scenario_file(tmp_path), ["workload.rate_rps=5,10"], listed)


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (["seed=1,2"], "^seed: every point runs on the same seeds"),
        (["workload.rate_rps=1", "workload.rate_rps=2"], "is given twice; put all its values"),
        (["workload.rate_rps=1", "workload={rate_rps: 2}"], "cannot be varied beside workload,"),
        (["workload.rate_rsp=1,2"], "^--grid workload.rate_rsp: unknown field"),
        (["workload.rate_rps=1,-1"], "^--grid workload.rate_rps: .*-1"),
        (["fleet.3.replicas=1"], "fleet has 1 entry"),
    ],
)
def test_a_mistake_in_a_grid_is_told_before_anything_runs(
    tmp_path: Path, grid: list[str], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        plan_sweep(scenario_file(tmp_path), grid)


def test_a_value_that_fits_beside_some_others_only_is_a_finding_of_its_points(
    tmp_path: Path,
) -> None:
    grid = ["workload.duration_s=10,100", "run.warmup_s=0,50"]
    plan = plan_sweep(scenario_file(tmp_path), grid)
    told = {tuple(point.settings.values()): point for point, _ in plan.points()}
    assert "run.warmup_s" in told[10, 50].error
    assert told[10, 50].hash is None
    assert all(point.hash for place, point in told.items() if place != (10, 50))
