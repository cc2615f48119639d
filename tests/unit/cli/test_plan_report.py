"""`simlora plan --out`: the page beside the figures for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simlora.cli.main import main
from simlora.scenario.loading import dump_resolved
from tests.unit.planning.planned import planned
from tests.unit.report.reading import check_stands_alone, page_at


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "planned.yaml"
    path.write_text(dump_resolved(planned()))
    return str(path)


def test_a_plan_has_a_page_that_names_its_fleet(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    one = ["--set", "plan.gpus=[h100-80gb]", "--set", "plan.hot_adapters=[32]"]
    assert main(["plan", scenario, *one, "--jobs", "1", "--out", str(out), "--json"]) == 0
    told = capsys.readouterr()
    json.loads(told.out)
    assert f"wrote {out / 'report.html'}\n" in told.err
    check_stands_alone(out / "report.html")
    fleet = json.loads((out / "plan.json").read_text())["best"]["fleet"]
    assert fleet in (out / "report.html").read_text()


def test_a_peak_has_a_page_too(scenario: str, tmp_path: Path) -> None:
    none = ["--set", "tiers.gold.sla.ttft_p99_s=0.001"]
    out = tmp_path / "out"
    assert main(["plan", scenario, "--peak", "--jobs", "1", *none, "--out", str(out)]) == 1
    assert page_at(out / "report.html").heads[0] == (1, "Load that planned holds")
    assert {path.name for path in out.iterdir()} == {"plan.json", "report.html"}
