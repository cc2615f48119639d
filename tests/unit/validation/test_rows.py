"""Reading tables of published runs, and the recipe that makes scenarios of them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario
from simlora.validation.recipe import scenario_of
from simlora.validation.rows import BscRun, held_out, read_runs
from tests.measurements import GROUND_TRUTH, needs
from tests.unit.validation.runs import REFUSED, ROW, write_table

REPO = Path(__file__).parents[3]
CALIBRATION = GROUND_TRUTH / "bsc_system_calibration.csv"


def read_one(tmp_path: Path, **changes: str) -> BscRun:
    return read_runs(write_table(tmp_path / "runs.csv", changes))[0]


def test_a_row_is_read_with_its_units(tmp_path: Path) -> None:
    run = read_one(tmp_path)
    assert run.feasible
    assert run.ranks == (8, 16)
    assert run.rates_rps == (0.4, 0.2)
    assert run.measured["ttft_mean_s"] == pytest.approx(0.05)
    assert run.measured["total_tokens_per_s"] == 1000
    assert run.kv_cache_tokens is None


def test_a_run_that_did_not_start_has_no_measurements(tmp_path: Path) -> None:
    run = read_one(tmp_path, **REFUSED)
    assert not run.feasible
    assert run.measured == {}
    assert not run.client_capped


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_loras_slots": "0"}, "runs.csv:2: max_loras_slots: must be a whole number above 0"),
        ({"max_loras_slots": "many"}, 'runs.csv:2: max_loras_slots: must be a number, not "many"'),
        ({"adapter_rate_list_rps": ""}, "runs.csv:2: adapter_rate_list_rps: must be a number"),
        ({"adapter_rate_list_rps": "1|-1"}, "adapter_rate_list_rps: must be above 0, not -1"),
        ({"status": "fine"}, "status: must be one of ok, oom"),
        ({"mean_tpot_ms": "-3"}, "runs.csv:2: mean_tpot_ms: must not be negative"),
        ({"mean_tpot_ms": "nan"}, 'mean_tpot_ms: must be a number, not "nan"'),
        ({"max_num_seqs": "2_048"}, 'runs.csv:2: max_num_seqs: must be a number, not "2_048"'),
        ({"mean_tpot_ms": "1e-320"}, "mean_tpot_ms: must be 0 or at least 1e-12, not 1e-320"),
        ({"mean_tpot_ms": "1e300"}, "mean_tpot_ms: must be at most 1e+15, not 1e300"),
        ({"n_adapters": "9999999"}, "runs.csv:2: n_adapters: must be at most 1000000, not 9999999"),
        ({"adapter_rank_list": "8.5"}, "adapter_rank_list: must be a whole number above 0, not 8"),
        ({"adapter_rank_list": "1e300"}, "adapter_rank_list: must be at most 1024, not 1e300"),
        ({"adapter_rate_list_rps": "1e300"}, "adapter_rate_list_rps: must be at most 1000000, not"),
        ({"config_id": "1.5"}, "runs.csv:2: config_id: must be a whole number of at least 0, not"),
        ({"load_regime": "funny"}, "load_regime: must be underloaded, overloaded or heavily_overl"),
        ({"load_regime": "infeasible"}, "load_regime: must be underloaded, overloaded or heavily"),
        ({"status": "oom"}, 'load_regime: must be infeasible, not "underloaded"'),
        ({"window_s": "1.5"}, "window_s: must be a whole number above 0, not 1.5"),
    ],
)
def test_wrong_values_are_named_with_their_line(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError) as error:
        read_one(tmp_path, **changes)
    assert said in str(error.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["run_id", "config_id"], ["a", "1"]])
    with pytest.raises(UserError, match="column base_model is missing"):
        read_runs(path)


@pytest.mark.parametrize(("cells", "said"), [("a,1", "has 2 cells"), ("," * 30, "has 31 cells")])
def test_a_row_of_another_length_is_refused(tmp_path: Path, cells: str, said: str) -> None:
    path = write_table(tmp_path / "runs.csv", {})
    path.write_text(path.read_text("utf-8") + cells + "\n", "utf-8")
    with pytest.raises(UserError, match=rf"runs.csv:3: {said}, but the header has {len(ROW)}"):
        read_runs(path)


def test_rates_that_are_nearly_alike_are_tenants_of_their_own(tmp_path: Path) -> None:
    scenario = scenario_of(read_one(tmp_path, adapter_rate_list_rps="0.1|0.1000000001|2"))
    names = [group.name for group in scenario.tenants]
    assert len(set(names)) == len(names) == 6
    assert {"rank8-0.1rps", "rank8-0.1000000001rps", "rank8-2rps"} <= set(names)
    expand(scenario)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window_s": "100000000000000"}, "workload.duration_s: must be at most 1000000000"),
        ({"base_model": "gpt-2"}, "base_model: must be one of llama-2-7b"),
        ({"dataset": "mine.json"}, "dataset: must be ShareGPT"),
        ({"adapter_rank_list": "64"}, "rank 64 is above the server's max_lora_rank of 16"),
    ],
)
def test_runs_that_the_recipe_does_not_know(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError) as error:
        scenario_of(read_one(tmp_path, **changes))
    assert str(error.value).startswith(f"{ROW['run_id']}: ")
    assert said in str(error.value)


def test_the_recipe_keeps_every_adapter_rank_and_rate(tmp_path: Path) -> None:
    scenario = scenario_of(read_one(tmp_path, n_adapters="9"))
    deployment = expand(scenario)
    assert sorted(a.rank for a in deployment.adapters) == [8] * 5 + [16] * 4
    rates = [group.rate_rps_each for group in scenario.tenants for _ in range(group.count)]
    assert sorted(r for r in rates if r is not None) == [0.2] * 4 + [0.4] * 5


def test_v0_computes_whole_prompts_in_steps_of_their_own(tmp_path: Path) -> None:
    changes = {"vllm_engine": "V0 0.5.0-fork", "base_model": "llama-2-7b", "max_num_seqs": "4096"}
    engine = scenario_of(read_one(tmp_path, **changes)).engine
    assert engine.scheduler.batching == "separate"
    assert not engine.scheduler.chunked_prefill


def test_what_is_held_out_is_fixed_and_keeps_repetitions_together(tmp_path: Path) -> None:
    rows = [{"config_id": str(i // 2)} for i in range(40)]
    runs = read_runs(write_table(tmp_path / "runs.csv", *rows))
    kept = held_out(runs, 0.3, seed=0)
    assert len(kept) == 12
    assert kept == held_out(runs[::-1], 0.3, seed=0)[::-1]
    assert len({run.config_id for run in kept}) == 6


@needs(CALIBRATION)
def test_the_example_is_what_the_recipe_makes() -> None:
    run = next(run for run in read_runs(CALIBRATION) if run.config_id == 154)
    example = load_scenario(REPO / "scenarios/validation/bsc-128-slots.yaml")
    made = scenario_of(run, profile=example.timing.profile)
    same = {"name": example.name, "description": example.description, "tenants": example.tenants}
    assert made.model_copy(update=same) == example
    groups = {(g.name, g.count, g.adapter.rank, g.rate_rps_each) for g in example.tenants}
    assert groups == {(g.name, g.count, g.adapter.rank, g.rate_rps_each) for g in made.tenants}


@needs(CALIBRATION)
def test_every_published_run_becomes_a_scenario() -> None:
    runs = read_runs(CALIBRATION)
    assert len(runs) == 577
    assert ROW.keys() <= set(CALIBRATION.read_text("utf-8").splitlines()[0].split(","))
    for run in runs:
        scenario_of(run)
