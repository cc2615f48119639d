"""`simlora plan`: its tables, files, exit codes and mistakes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from simlora import load_scenario
from simlora.cli.main import main
from simlora.scenario.loading import dump_resolved
from tests.unit.planning.planned import planned

ONE_KIND = ["--set", "plan.gpus=[h100-80gb]", "--set", "plan.hot_adapters=[32]"]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("planned") / "planned.yaml"
    path.write_text(dump_resolved(planned()))
    return str(path)


def test_the_fleet_its_evidence_and_its_flags_fit_eighty_columns(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["plan", scenario, *ONE_KIND, "--jobs", "1", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    tables, _, commands = text.partition("# vllm")
    assert max(map(len, tables.splitlines())) <= 80
    assert commands.count(" \\\n    --") > 30  # each option on a line of its own
    assert "…" not in text
    for part in (
        "cheapest fleet",
        "95% confidence",
        " 1.00% free p99 TTFT 3 s ",  # the row of the last column whole, then the next tier's
        "times the load",
        "vllm serve meta-llama/Llama-3.1-8B-Instruct",
        "python -m sglang.launch_server",
        "lorax-launcher",
    ):
        assert part in " ".join(text.split())
    told = json.loads((out / "plan.json").read_text())
    fleet = load_scenario(out / "scenario.yaml").fleet[0]
    assert (fleet.gpu, fleet.replicas) == (told["best"]["gpu"], told["best"]["replicas"])


def test_json_goes_to_stdout_alone(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", scenario, *ONE_KIND, "--jobs", "1", "--max-cost", "1", "--json"]
    assert main(arguments) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["best"] is not None and told["within_budget"] is False


def test_above_the_budget_that_is_said_first_and_nothing_is_started(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", scenario, *ONE_KIND, "--jobs", "1", "--max-cost", "1"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("The cheapest fleet that meets every promise costs $")
    assert "cheapest fleet at any cost" in told
    assert "vllm serve" not in told


def test_a_demand_that_nothing_meets_ends_with_1_and_its_bound(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = ["--set", "tiers.gold.sla.ttft_p99_s=0.01", "--set", "plan.gpus=[l40s]"]
    assert main(["plan", scenario, *impossible]) == 1
    assert "promised within 10 ms" in " ".join(capsys.readouterr().out.split())


def test_the_peak_of_the_scenarios_own_fleet_is_told(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = ["--set", "fleet.0.gpu=h100-80gb", "--set", "engine.memory.max_loras=32"]
    assert main(["plan", scenario, "--peak", "--jobs", "1", *fleet]) == 0
    text = capsys.readouterr().out
    assert "times the load" in text and "p99 TTFT" in text
    none = ["--set", "tiers.gold.sla.ttft_p99_s=0.001"]
    assert main(["plan", scenario, "--peak", "--jobs", "1", "--json", *none]) == 1
    assert json.loads(capsys.readouterr().out)["holds_times"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--peak", "--what-if", "load=2"], "--peak is about the scenario's own fleet"),
        (["--what-if", "users=2"], "--what-if takes tenants=FACTOR"),
        (["--set", "plan.gpu=[l40s]"], "--set plan.gpu: unknown field; did you mean gpus"),
        (["--confidence", "1.5"], "--confidence"),
        (["--confidence", "nan"], "--confidence"),
        (["--max-cost", "nan"], "nan is not a finite number"),
        (["--max-cost", "inf"], "inf is not a finite number"),
        (["--set", "plan.routing=[foo]"], "--set plan.routing.0: unknown name 'foo'"),
        (["--set", "plan.admission=[{nope: 3}]"], "--set plan.admission.0"),
        (["--set", "workload.duration_s=0.01"], "are too few to show"),
        (["--max-cost", "0"], "--max-cost"),
        (["--set", "plan.gpus=[l40]"], "--set plan.gpus.0: no GPU"),
    ],
)
def test_a_mistake_is_one_sentence_and_ends_with_2(
    scenario: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", scenario, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert told in error


def test_a_mistake_in_the_file_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.yaml"
    text = dump_resolved(planned(plan__gpus=["l40s"])).replace("- l40s", "- l40")
    path.write_text(text)
    line = text.splitlines().index("  - l40") + 1
    assert main(["plan", str(path)]) == 2
    assert f"{path}:{line}: plan.gpus.0: no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_prints_the_best_so_far_and_ends_with_130(
    scenario: str, jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Hours of search, so that the signal comes in the midst of it on any machine.
    endless = ["--set", "workload.duration_s=20000", "--set", "plan.tensor_parallel=[1,2,4]"]
    before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 4.0)
    try:
        assert main(["plan", scenario, *endless, "--jobs", jobs]) == 130
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "interrupted" in capsys.readouterr().err
