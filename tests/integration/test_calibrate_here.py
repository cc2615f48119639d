"""`simlora calibrate --device cpu`: the engine measured, and a profile that a run uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import simlora
from simlora.calibration import hardware
from simlora.calibration.grid import CPU, GPU, Extent, steps_to_fit, steps_to_judge, within
from simlora.calibration.hardware import Machine, calibrate_machine, catalog_gpu
from simlora.calibration.records import Records
from simlora.cli.main import main
from simlora.engine.bench import Bench, StepSize
from simlora.errors import UserError
from simlora.scenario.catalog import load_model
from simlora.scenario.schema import ModelChoice
from simlora.timing.profile import load_profile

SMALL = Extent(
    decodes=(1, 2, 8),
    contexts=(16, 48, 96),
    chunks=(16, 32, 64),
    chunk_starts=(0,),
    adapters=(1, 2),
    ranks=(8, 16),
    kv_tokens=2_000,
    held_out=5,
)
HERE = Machine("tiny-llama", "cpu", "cpu", extent=SMALL)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> hardware.Measured:
    out = tmp_path_factory.mktemp("here") / "here.json"
    measured = calibrate_machine(HERE, "here", out)
    out.write_text(measured.profile.model_dump_json(), encoding="utf-8")
    return measured


def rows_facts(table: Path) -> dict[str, str]:
    return dict(json.loads(pq.read_schema(table).metadata[b"simlora"]))


def rows_of(table: Path) -> list[dict[str, Any]]:
    return pq.read_table(table).to_pylist()


def test_every_step_of_the_grid_is_measured_and_some_are_kept_to_judge(
    calibrated: hardware.Measured,
) -> None:
    assert calibrated.missing == 0
    steps = [row for row in rows_of(calibrated.table) if row["kind"] == "step"]
    measured = {row["size"] for row in steps}
    assert len(measured) == len(steps_to_fit(SMALL)) + SMALL.held_out
    assert len(steps) == hardware.ROUNDS * len(measured)
    judged = {row["size"] for row in steps if row["role"] == "judge"}
    assert len(judged) == SMALL.held_out
    assert calibrated.steps == len(measured) - SMALL.held_out
    assert all(row["p10_s"] <= row["median_s"] <= row["p90_s"] for row in steps)


def test_the_profile_tells_its_error_range_and_origin(calibrated: hardware.Measured) -> None:
    profile = calibrated.profile
    errors = calibrated.errors
    assert profile.error["step_median"] == errors["step"].median
    assert errors["step"].count == SMALL.held_out
    assert (
        sum(errors[kind].count for kind in ("decode step", "step with prefill") if kind in errors)
        == SMALL.held_out
    )
    assert profile.holds_for["max_rank"] == (8, 16)
    assert profile.holds_for["running"][1] >= 8
    assert "torch" in profile.provenance.source
    assert profile.load is not None
    # What was uploaded were fp32 elements; a load is charged by bf16 ones.
    ranks, seconds = Records(calibrated.table, rows_facts(calibrated.table)).loads()
    load, model = profile.load, load_model(ModelChoice(name="tiny-llama"))
    for rank, took_s in zip(ranks, seconds, strict=True):
        charged = 2 * model.lora_parameters(rank, "all-linear")
        assert load.latency_s + charged / load.bytes_per_s == pytest.approx(took_s, rel=0.6)


def test_a_run_uses_the_profile(calibrated: hardware.Measured) -> None:
    path = calibrated.table.with_suffix(".json")
    scenario = simlora.scenario.schema.Scenario.model_validate(
        {
            "name": "here",
            "model": "tiny-llama",
            "fleet": [{"gpu": "cpu"}],
            "tenants": [{"name": "tenant", "count": 4, "adapter": {"rank": 8}}],
            "workload": {
                "rate_rps": 5,
                "duration_s": 20,
                "prompt_tokens": {"fixed": 40},
                "output_tokens": {"fixed": 10},
            },
            "engine": {"max_model_len": 512},
            "timing": {"profile": str(path)},
        }
    )
    summary = simlora.simulate(scenario).summary
    assert summary["requests"]["completed"] == summary["requests"]["offered"] > 50
    assert summary["simulation"]["timing"]["profile"] == "here"
    assert summary["simulation"]["timing"].get("scaled_from") is None


def test_an_interrupted_calibration_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "half.json"
    asked: list[StepSize] = []
    real = Bench.step

    def interrupted(bench: Bench, size: StepSize) -> Any:
        asked.append(size)
        if len(asked) == 12:
            raise KeyboardInterrupt
        return real(bench, size)

    monkeypatch.setattr(Bench, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        calibrate_machine(HERE, "half", out)
    kept = [row for row in rows_of(out.with_suffix(".parquet")) if row["kind"] == "step"]
    assert len(kept) == 11

    first = asked[:11]
    asked.clear()
    asked.extend(range(100))  # type: ignore[arg-type]
    monkeypatch.setattr(hardware, "ROUNDS", 1)
    measured = calibrate_machine(HERE, "half", out)
    again = asked[100:]
    assert not set(first) & set(again)
    assert measured.missing == 0
    steps = [row for row in rows_of(measured.table) if row["kind"] == "step"]
    assert steps[: len(kept)] == kept


def test_a_budget_that_suffices_for_nothing_is_told(tmp_path: Path) -> None:
    machine = Machine("tiny-llama", "cpu", "cpu", extent=SMALL, budget_s=0.0)
    with pytest.raises(
        UserError, match=r"--budget: only 0 of .* steps are measured, too few to fit"
    ):
        calibrate_machine(machine, "short", tmp_path / "short.json")


def test_measurements_of_something_else_are_not_mixed_in(
    calibrated: hardware.Measured, tmp_path: Path
) -> None:
    out = tmp_path / "other.json"
    out.with_suffix(".parquet").write_bytes(calibrated.table.read_bytes())
    other = Machine("tiny-llama", "cpu", "cpu", tensor_parallel=2, extent=SMALL)
    with pytest.raises(UserError, match=r"other\.parquet: holds measurements of something else"):
        calibrate_machine(other, "other", out)
    out.with_suffix(".parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"other\.parquet: cannot be read"):
        calibrate_machine(HERE, "other", out)


def test_the_command_prints_tables_or_json(
    calibrated: hardware.Measured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(hardware, "CPU", SMALL)
    out = tmp_path / "command.json"
    out.with_suffix(".parquet").write_bytes(calibrated.table.read_bytes())  # nothing left to do
    command = ["calibrate", "--device", "cpu", "--model", "tiny-llama", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "steps fitted" in printed and "on steps left out of the fit" in printed
    assert load_profile(out).name == "command"
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profile"]["gpu"] == "cpu"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--device", "cpu", "--passes", "3"), "--passes needs measurements"),
        (("--device", "cpu", "--map", "a=b"), "--map needs measurements"),
        (("--device", "cpu", "--from", "x.csv", "--gpu", "h200"), "--device measures here"),
        (("--device", "cpu", "--model", "tiny"), "did you mean tiny-llama?"),
        (("--device", "cpu", "--budget", "0"), "0.0 is not in the range"),
        (("--from", "x.csv"), "--gpu is needed"),
        (("--device", "cpu", "--gpu", "h200"), "--device cpu measures this CPU, not h200"),
        (("--device", "cpu", "--seed", "3"), "--seed needs measurements"),
        (("--device", "cpu", "--budget", "nan"), "--budget: must be a number of seconds, not nan"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    options: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = () if "--model" in options else ("--model", "tiny-llama")
    assert main(["calibrate", *options, *model, "--out", str(tmp_path / "p.json")]) == 2
    said = capsys.readouterr().err
    assert told in said and len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("extent", [CPU, GPU, SMALL])
def test_no_step_is_measured_twice_or_both_fitted_and_judged(extent: Extent) -> None:
    fitted, judged = steps_to_fit(extent), steps_to_judge(extent)
    assert len(set(fitted)) == len(fitted)
    assert not set(fitted) & set(judged)
    assert {len(step.ranks) for step in fitted} >= {0, *extent.adapters}
    for step in (*fitted, *judged):
        assert step.decodes * step.context_tokens <= extent.kv_tokens
        assert step.decodes + step.prefills > 0
        assert set(step.ranks) <= set(extent.ranks)
        assert len(step.ranks) <= step.decodes + step.prefills


def test_devices_are_known_by_what_they_call_themselves() -> None:
    assert catalog_gpu("NVIDIA H200", 139.8) == "h200"
    assert catalog_gpu("NVIDIA H100 80GB HBM3", 79.1) == "h100-80gb"
    assert catalog_gpu("NVIDIA H100 64GB", 63.4) == "h100-64gb"
    assert catalog_gpu("NVIDIA A100-SXM4-40GB", 39.4) == "a100-40gb"
    with pytest.raises(UserError, match='calls itself "Quadro" and has 8 GiB; say which'):
        catalog_gpu("Quadro", 8.0)
    with pytest.raises(UserError, match="has 10 GiB; say which"):  # a part of one
        catalog_gpu("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10.0)


def test_a_grid_is_cut_down_to_the_memory_there_is() -> None:
    model = load_model(ModelChoice(name="llama-3.1-8b"))
    gib = 2.0**30
    assert within(GPU, model, 1, 139 * gib, False) == GPU
    smaller = within(GPU, model, 1, 40 * gib, False)
    assert smaller.adapters[-1] < GPU.adapters[-1] or smaller.kv_tokens < GPU.kv_tokens
    assert steps_to_fit(smaller) and steps_to_judge(smaller)
    with pytest.raises(UserError, match=r"--model llama-3\.1-8b: weights and measurements need"):
        within(GPU, model, 1, 12 * gib, False)
    large = load_model(ModelChoice(name="llama-3.1-405b"))
    with pytest.raises(UserError, match="--tensor-parallel"):
        within(CPU, large, 1, 64 * gib, True)
