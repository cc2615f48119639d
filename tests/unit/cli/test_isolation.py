"""`simlora isolation`: its tables, its files and its mistakes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from simlora.cli.isolation_tables import isolation_tables
from simlora.cli.main import main
from simlora.planning.isolation import Isolation, isolation
from simlora.scenario.loading import load_scenario

SCENARIO = """\
name: prying
model: qwen2.5-7b
fleet: [{gpu: l40s}]
tenants:
  - {name: a-customer-with-a-very-long-name, count: 5, rate_rps_each: 0.2}
  - {name: attacker, rate_rps_each: 0}
workload:
  duration_s: 300
  arrivals: {sessions: {common_prefix_tokens: 256}}
  prompt_tokens: {fixed: 500}
  output_tokens: {fixed: 20}
"""
FAST = ("--probes", "150", "--faster", "0", "--jobs", "1")


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("prying") / "prying.yaml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.fixture(scope="module")
def found(scenario: str) -> Isolation:
    return isolation(load_scenario(Path(scenario)), probes=150)


def printed(found: Isolation) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(isolation_tables(found))
    return out.getvalue()


def test_the_tables_fit_eighty_columns_and_hold_every_mode(found: Isolation) -> None:
    text = printed(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for leak in found.leaks:
        assert text.count(f"\n{leak.mode} ") == 3  # leaks, price, price when saturated
        assert f"{leak.auc.low:.3f}–{leak.auc.high:.3f}" in text
    assert "With all arrivals 8 times as fast" in text
    assert "held back by 0 to 0.2 s" in text


def test_json_has_the_figures_and_nothing_else_is_on_stdout(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    modes = ("--modes", "tenant,shared+noise", "--noise", "0.05", "--attacker", "attacker")
    assert main(["isolation", scenario, *FAST, *modes, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err == ""
    assert told["attacker"] == "attacker-0000"
    assert told["timing_noise_s"] == 0.05
    assert [leak["mode"] for leak in told["leaks"]] == ["tenant", "shared+noise"]
    assert told["leaks"][0]["hit_share"] == 0.0 < told["leaks"][1]["hit_share"]
    assert [price["percent_over_shared"] for price in told["prices"]] == [None, None]
    assert told["saturated"] == []


def test_the_seed_is_an_option_as_it_is_a_setting(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for seed in (("--seed", "7"), ("--set", "seed=7"), ()):
        assert main(["isolation", scenario, *FAST, "--modes", "shared", *seed, "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    option, setting, default = told
    assert option == setting
    assert (option["seed"], default["seed"]) == (7, 0)
    assert option["leaks"] != default["leaks"]


def test_the_noise_of_the_scenario_is_the_default(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = ("--set", "engine.prefix_cache.timing_noise_s=0.4", "--modes", "shared,shared+noise")
    assert main(["isolation", scenario, *FAST, *noise, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["timing_noise_s"] == 0.4
    plain, noisy = (price["ttft_p50_s"] for price in told["prices"])
    assert noisy > plain + 0.1


def test_files_of_figures_probes_and_a_picture_are_written(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "directory"
    assert main(["isolation", scenario, *FAST, "--out", str(out), "--modes", "shared"]) == 0
    assert capsys.readouterr().err.count("wrote ") == 3
    told = json.loads((out / "isolation.json").read_text())
    probes = pd.read_parquet(out / "probes.parquet")
    assert len(probes) == told["leaks"][0]["probes"]
    assert set(probes["mode"]) == {"shared"}
    assert (out / "isolation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--attacker", "nobody"], 'attacker: no tenant "nobody"'),
        (["--modes", "open"], 'modes: "open" is none'),
        (["--probes", "3"], "--probes"),
        (["--noise", "0"], "--noise"),
        (["--seed", "-1"], "--seed"),
        (["--faster", "-1"], "--faster"),
        (["--set", "workload.arrivals=poisson"], "no private prompt has prefix hashes"),
        (
            ["--set", "engine.prefix_cache.enabled=false"],
            "--set engine.prefix_cache.enabled: is false",
        ),
        (["--out", __file__], "is a file"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr(
    scenario: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["isolation", scenario, "--jobs", "1", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
