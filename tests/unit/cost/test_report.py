"""The report's section on money."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.report.cost import cost_section
from simlora.results.result import Result
from simlora.sim import simulate
from tests.simulating import small_scenario


def simulated(**fields: object) -> Result:
    return simulate(small_scenario(workload={"rate_rps": 2.0, "duration_s": 20}, **fields))


@pytest.fixture(scope="module")
def asked() -> Result:
    return simulated(
        tiers={"standard": {"price_usd_month": 50.0}}, cost={"density": {"gpus": ["l40s"]}}
    )


def test_the_section_holds_the_bill_the_tiers_and_two_figures(asked: Result) -> None:
    html = cost_section(asked, "salt")
    assert html.startswith("<h2>What it costs</h2>")
    assert "<th scope=row>standard</th><td>4</td>" in html and "<td>$200.00</td>" in html
    assert html.count("<svg") == 2
    assert "few-shot prompting" not in html  # nobody has given figures for it
    assert ">shared LoRA<" in html and ">price<" in html


def test_it_is_the_same_each_time_and_changes_nothing_in_the_run(asked: Result) -> None:
    before = {path: path.read_bytes() for path in Path(asked.directory).iterdir()}
    assert cost_section(asked, "salt") == cost_section(asked, "salt")
    assert before == {path: path.read_bytes() for path in Path(asked.directory).iterdir()}


def test_a_result_that_is_not_of_its_scenario_is_not_passed_over(asked: Result) -> None:
    """Only a run of an older version has no section."""
    fewer = Result(asked.directory, asked.summary)
    fewer.tenants = asked.tenants.iloc[:2]
    with pytest.raises(UserError, match="has 2 tenants, not those of its scenario"):
        cost_section(fewer, "salt")


def test_a_scenario_without_prices_and_an_older_run_have_no_section(asked: Result) -> None:
    assert cost_section(simulated(), "salt") == ""
    (asked.directory / "scenario.resolved.yaml").rename(asked.directory / "away")
    assert cost_section(asked, "salt") == ""
    (asked.directory / "away").rename(asked.directory / "scenario.resolved.yaml")
    older = Result(asked.directory, asked.summary)
    older.tenants = asked.tenants.drop(columns="gpu_s")
    assert cost_section(older, "salt") == ""
