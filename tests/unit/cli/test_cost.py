"""`simlora cost`: its tables, its JSON and its mistakes."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from simlora.cli.cost_tables import cost_tables
from simlora.cli.main import main
from simlora.cost.alternatives import SHARED, BreakEven
from simlora.cost.analysis import Costs, costs
from simlora.results.result import Result
from simlora.scenario.catalog import load_model
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import ModelChoice
from simlora.sim import simulate

SCENARIO = """\
name: paying
model: llama-3.1-8b
fleet:
  - {gpu: l40s, replicas: 2}
  - {gpu: h100-80gb, tenants: [own]}
tenants:
  - {name: a-customer-with-a-very-long-name, count: 5, tier: gold}
  - {name: own, tier: gold}
workload: {duration_s: 120, rate_rps: 3, output_tokens: {fixed: 50}}
engine: {max_model_len: 4096}
tiers: {gold: {price_usd_month: 900, sla: {ttft_p99_s: 0.001}}}
cost:
  attribution: {method: {gpu_seconds: 0.5, tokens: 0.5}}
  training: {tokens_per_example: 500, utilization: 0.4}
  growth: {per_month: 0.3}
  credits: {gold: [{below: 0.9, share: 0.5}]}
  alternatives: {few_shot: {examples: 5, tokens_per_example: 100}, rag: {context_tokens: 800}}
  density: {gpus: [l40s]}
  migration: {to: qwen2.5-7b, gpus: 8, window_days: 1}
  deletion: {propagation_s: 60, store_s: 60, backup_retention_days: 40}
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("paying") / "paying.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture(scope="module")
def result(path: Path) -> Result:
    result = simulate(load_scenario(path))
    result.save(path.parent / "run")
    return result


@pytest.fixture(scope="module")
def found(path: Path, result: Result) -> Costs:
    return costs(result, load_scenario(path), ["own"])


def printed(found: Costs) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(cost_tables(found, 10))
    return out.getvalue()


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["cost", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return dict(json.loads(out))


def test_the_tables_fit_eighty_columns_and_hold_every_part(found: Costs) -> None:
    text = printed(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for part in (
        "by 50 % gpu_seconds + 50 % tokens",
        "nobody (idle)",
        "a-customer-with-a",
        "a million output tokens",
        "few-shot prompting",
        "own-0000: do not dedicate by penalty: $450.00 is given back",
        "Retraining:",
        "Migration: 6 adapters",
        "Deletion: gone from backups last, after 40.0 days; due after 30.0: too late.",
        "Growth: in 12 months",
        "1 x l40s",
    ):
        assert part in " ".join(text.split()), part


def test_json_of_a_scenario_adds_up_to_the_cent(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = told([str(path), "--dedicate", "own"], capsys)
    tenants = fsum(row["cost_usd"] for row in plain["tenants"])
    bill = fsum(plain["month"]["bill"].values())
    assert tenants + plain["month"]["nobody_usd"] == pytest.approx(bill, abs=0.01)
    assert plain["month"]["usd"] == pytest.approx(bill)
    assert all(round(row["cost_usd"], 2) == row["cost_usd"] for row in plain["tenants"])
    assert {row["credit_usd"] for row in plain["tenants"]} == {450.0}
    assert plain["run_usd"] * plain["scale"] == pytest.approx((2 * 2 + 4) * 720)
    assert plain["break_evens"]["few-shot prompting"]["cheaper"] == "below"
    assert plain["dedications"][0]["tenant"] == "own-0000"
    assert plain["demand"]["prompt_tokens"] > 0


def test_a_finished_run_says_the_same_as_its_scenario(
    path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told([str(path)], capsys) == told([str(path.parent / "run")], capsys)


def test_options_take_the_place_of_what_the_scenario_says(
    path: Path, result: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(path.parent / "run")
    spread = told([run, "--idle", "spread", "--attribution", "residency"], capsys)
    assert (spread["attribution"], spread["idle"]) == ("residency", "spread")
    assert spread["month"]["nobody_usd"] == 0
    dearer = told([run, "--set", "cost.team={fte: 1, usd_per_fte_year: 120000}"], capsys)
    assert dearer["month"]["bill"]["team"] == pytest.approx(10_000)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--dedicate", "owm"], 'no tenant "owm"'),
        (["--set", "cost.credits.silver=[]"], 'cost.credits.silver: unknown tier "silver"'),
        (["--set", "fleet.0.replicas=3"], "--set fleet.0.replicas: "),
        (["--seed", "3"], "--seed: "),
        (["--attribution", "peak"], "peak"),
        (["--set", "cost.migration.gpus=2"], "cost.migration.gpus: 2 are less than the 4"),
        (["--set", "cost.density.gpus=[h1000]"], "h1000"),
    ],
)
def test_mistakes_are_one_sentence(
    path: Path,
    result: Result,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    assert main(["cost", str(path.parent / "run"), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_a_run_of_a_version_that_took_down_less_says_so(
    path: Path, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = result.save(tmp_path / "old")
    table = pd.read_parquet(directory / "tenants.parquet")
    table.drop(columns="gpu_s_by_pool").to_parquet(directory / "tenants.parquet")
    assert main(["cost", str(directory)]) == 2
    assert "has no column gpu_s_by_pool" in capsys.readouterr().err


def test_an_interrupted_run_says_so_and_where(
    path: Path, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = result.save(tmp_path / "cut")
    summary = json.loads((directory / "summary.json").read_text())
    summary["simulation"]["interrupted"] = True
    (directory / "summary.json").write_text(json.dumps(summary))
    assert main(["cost", str(directory)]) == 130
    assert capsys.readouterr().err.startswith("interrupted after 120.9 s")
    assert main(["cost", str(directory), "--json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["name"] == "paying"
    assert err.startswith("interrupted after 120.9 s") and len(err.splitlines()) == 1


def test_set_up_that_the_bill_has_not_is_told_under_the_ways(path: Path) -> None:
    scenario = load_scenario(path, {"tenants.0.adapters": 3, "cost.training": None,
                                    "cost.migration.gpu_hours_each": 2})  # fmt: skip
    found = costs(simulate(scenario), scenario)
    assert found.setup_usd == 300
    assert found.setup_usd_month == pytest.approx(16 / 6 * 25)
    assert found.ways[SHARED](0) == pytest.approx(found.setup_usd_month)
    text = " ".join(printed(found).split())
    assert "set-up in them: $66.67 a tenant a month, $400.00 in all, of $300.00 an adapter" in text
    free = costs(simulate(scenario), scenario.with_overrides({
        "cost.alternatives.lora_setup_usd": 0}))  # fmt: skip
    assert "set-up" not in printed(free)


def test_a_migration_without_a_training_costs_what_the_fleets_gpus_do(path: Path) -> None:
    """Its adapters are those of the tenants, on the new model."""
    scenario = load_scenario(
        path, {"cost.training": None, "cost.migration": {
            "to": "llama-3.1-70b", "gpus": 8, "window_days": 1, "gpu_hours_each": 2}},
    )  # fmt: skip
    moved = costs(simulate(scenario), scenario).migration
    assert moved is not None
    assert moved.training_usd == pytest.approx(6 * 2 * (2 * 2 + 4) / 3)
    of = expand(scenario)
    new = load_model(ModelChoice(name="llama-3.1-70b"))
    shape = scenario.tenants[0].adapter
    assert moved.peak_adapter_bytes == sum(a.nbytes for a in of.adapters) + 6 * 2 * (
        new.lora_parameters(shape.rank, shape.targets)
    )


def test_a_way_that_is_dearer_again_further_on_is_cheaper_first_above(found: Costs) -> None:
    points = {"few-shot prompting": BreakEven("above", 30_694_999.0, again=True)}
    text = printed(replace(found, break_evens=points))
    assert "first above 30,694,999 queries" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("columns", ["60", "200"])
def test_no_terminal_is_too_narrow_for_the_figures(
    path: Path,
    result: Result,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["cost", str(path.parent / "run")]) == 0
    out = capsys.readouterr().out
    assert "…" not in out
    assert "of price" in out


def test_shares_are_all_told_to_a_tenth_of_a_per_cent(found: Costs) -> None:
    shares = re.findall(r"(\S+) %", printed(found).split("one of")[0].split("the bill")[1])
    assert len(shares) > 5
    assert all(re.fullmatch(r"[<>]?-?[\d,]+\.\d", one) for one in shares), shares
