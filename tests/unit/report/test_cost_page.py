"""The page of `cost`: who pays what, what drives it, and what that rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.cli.main import main
from simlora.cost.analysis import costs
from simlora.cost.money import dollars
from simlora.errors import UserError
from simlora.report.cost_page import cost_page, write_costs
from simlora.results.result import Result
from simlora.sim import simulate
from tests.simulating import small_scenario
from tests.unit.report.reading import (
    check_can_be_read_unseen,
    check_order,
    check_stands_alone,
    page_at,
)

SCENARIO = small_scenario(
    workload={"rate_rps": 2.0, "duration_s": 20},
    tiers={"standard": {"price_usd_month": 50.0}},
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return simulate(SCENARIO, out=tmp_path_factory.mktemp("cost") / "run")


def test_the_bill_comes_first_and_what_it_rests_on_last(result: Result, tmp_path: Path) -> None:
    path = write_costs(costs(result, SCENARIO), result, tmp_path / "new" / "cost.html")
    check_stands_alone(path)
    page = page_at(path)
    check_can_be_read_unseen(page)
    check_order(page, "Summary", "What limits this fleet", "Figures", "Assumptions", "Provenance")
    assert len(page.all("svg")) == 2
    assert "<th scope=row>error of the profile</th>" in path.read_text()


def test_the_figures_are_those_of_the_bill(result: Result) -> None:
    found = costs(result, SCENARIO)
    text = cost_page(found, result)
    assert f"<b>{dollars(found.month.usd)}</b>" in text
    for name, usd in found.month.bill.items():
        assert (f"<th scope=row>{name}</th>" in text) == (usd > 0)
    assert text.count("<th scope=row>tenant-") == len(found.tenants) == 4
    for way in found.same_demand:
        assert f"<th scope=row>{way}</th>" in text


def test_the_command_writes_the_page_beside_its_tables(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cost.html"
    assert main(["cost", str(result.directory), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "the bill of a month" in told.out and told.err == f"wrote {out}\n"
    assert page_at(out).heads[0] == (1, "What small costs")


def test_a_place_that_cannot_be_written_to_is_one_sentence(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cost", str(result.directory), "--out", str(tmp_path)]) == 2
    assert "is a directory" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the report"):
        write_costs(costs(result, SCENARIO), result, tmp_path / "file" / "cost.html")
