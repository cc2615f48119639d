"""`simlora harm`: its mistakes, its tables and its JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from simlora.cli.harm_tables import harm_tables
from simlora.cli.main import main
from simlora.planning.harm import Harm, harm
from simlora.scenario.loading import load_scenario

SCENARIO = """\
name: noisy
model: tiny-llama
fleet: [{gpu: l40s}]
tenants:
  - {name: a-customer-with-a-very-long-name, count: 3, tier: platinum}
  - {name: free, count: 3, tier: free}
engine: {max_num_seqs: 2}
workload:
  rate_rps: 4
  duration_s: 30
  output_tokens: {fixed: 200}
  arrivals: {bursts: [{tenant: free-0000, start_s: 10, duration_s: 1, requests: 400}]}
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("noisy") / "noisy.yaml"
    path.write_text(SCENARIO)
    return str(path)


def printed(found: Harm, top: int = 10) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(harm_tables(found, top))
    return out.getvalue()


def test_the_tables_fit_eighty_columns_and_cut_no_name(scenario: str) -> None:
    found = harm(load_scenario(scenario), "free-0000", 3)
    text = printed(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for part in (
        f"the {found.requests:,} requests of free-0000 in all replications",
        "tier platinum",
        "±",
        "mean of 3 replications (seeds 0 to 2)",
        "name-0001",  # of the long name, on a line of its own
        "free-0001",
    ):
        assert part in text
    assert "free-0001" not in printed(found, top=0)


def test_one_replication_has_no_interval(scenario: str) -> None:
    text = printed(harm(load_scenario(scenario), "free-0000"))
    assert "±" not in text
    assert "+" in text
    assert "--replications tells how sure" in text


def test_who_hurts_nobody_is_said_to(scenario: str) -> None:
    idle = {
        "tenants.0.rate_rps_each": 1.0,
        "tenants.1.rate_rps_each": 1e-12,
        "workload.rate_rps": None,
        "workload.arrivals": "poisson",
    }
    text = printed(harm(load_scenario(scenario, idle), "free-0002"))
    assert "free-0002 has no request in this run" in text
    (everyone,) = (line.split() for line in text.splitlines() if line.startswith("all"))
    assert everyone[-2:] == ["1", "0"]


def test_requests_that_were_lost_to_the_tenant_are_told(scenario: str) -> None:
    cut = {"workload.on_end": "discard", "workload.duration_s": 12}
    assert "completed with free-0000 and" in printed(
        harm(load_scenario(scenario, cut), "free-0000")
    )


def test_json_holds_the_same_figures(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tenant", "free-0000", "--set", "seed=3", "--replications", "2", "--top", "2"]
    assert main(["harm", scenario, *arguments, "--jobs", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    told = json.loads(out)
    found = harm(load_scenario(scenario, {"seed": 3}), "free-0000", 2)
    assert told["tenant"] == "free-0000"
    assert told["seeds"] == [3, 4]
    assert told["requests"] == found.requests
    assert told["all"]["ratio"] == found.of("all")["ratio"][0]
    assert [tier["name"] for tier in told["tiers"]] == ["platinum", "free"]
    assert [t["change_s"] for t in told["tenants"]] == list(found.most_affected(2)["change_s"])
    assert told["tenants"][0]["low_s"] is None


def test_the_command_prints_the_tables(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["harm", scenario, "--tenant", "free-0000", "--jobs", "1"]) == 0
    out, _ = capsys.readouterr()
    assert "Most affected" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "fre-0000"], 'no tenant "fre-0000", did you mean free-0000?'),
        ([], "Missing option '--tenant'"),
        (["--tenant", "free-0000", "--replications", "0"], "--replications"),
        (["--tenant", "free-0000", "--set", "fleet"], "--set takes key=value"),
        (["--tenant", "free-0000", "--set", "model=llama-3.1-405b"], "fleet.0: llama-3.1-405b"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr(
    scenario: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["harm", scenario, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_scenario_that_is_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["harm", str(tmp_path / "none.yaml"), "--tenant", "a"]) == 2
    assert "none.yaml: no such file" in capsys.readouterr().err
