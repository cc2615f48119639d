"""`simlora cost`: its tables, its JSON and its mistakes."""

from __future__ import annotations

import io
import json
from math import fsum
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from simlora.cli.cost_tables import cost_tables
from simlora.cli.main import main
from simlora.cost.analysis import Costs, costs
from simlora.results.result import Result
from simlora.scenario.loading import load_scenario
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
        "by 50% gpu_seconds + 50% tokens",
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
