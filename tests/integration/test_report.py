"""`simlora report` from end to end: one file that a browser shows offline, and figures as files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simlora.cli.main import cli
from simlora.results.result import load_result
from simlora.scenario.loading import load_scenario
from simlora.sim import simulate
from tests.unit.report.reading import (
    Page,
    check_can_be_read_unseen,
    check_order,
    check_stands_alone,
    page_at,
)

SCENARIOS = Path(__file__).parents[2] / "scenarios"
ORDER = (
    "Summary",
    "What limits this fleet",
    "Tiers and their promises",
    "What it costs",
    "Figures",
    "Assumptions",
    "Provenance",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Quickstart on one GPU and on two, and the scenario with most tenants, each for a while."""
    folder = tmp_path_factory.mktemp("runs")
    asked = {
        "one": ("quickstart", {"workload.duration_s": 30}),
        "two": ("quickstart", {"workload.duration_s": 30, "fleet.0.replicas": 2}),
        "many": ("three-tiers", {"workload.duration_s": 40}),
    }
    for name, (scenario, changes) in asked.items():
        simulate(load_scenario(SCENARIOS / f"{scenario}.yaml", changes), out=folder / name)
    return {name: folder / name for name in asked}


def report(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def page_of(*arguments: object) -> tuple[Path, Page]:
    outcome = report(*arguments)
    assert outcome.exit_code == 0, outcome.output
    path = Path(outcome.output.splitlines()[0])
    return path, page_at(path)


@pytest.fixture(scope="module")
def pages(
    runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Page]]:
    """The report of one run, of the largest one, and of two side by side."""
    out = tmp_path_factory.mktemp("out") / "both.html"
    return {
        "one": page_of(runs["one"]),
        "many": page_of(runs["many"]),
        "both": page_of(runs["one"], runs["two"], "--out", out),
    }


@pytest.mark.parametrize("name", ["one", "many", "both"])
def test_a_page_needs_nothing_from_the_net_and_is_small(
    pages: dict[str, tuple[Path, Page]], name: str
) -> None:
    check_stands_alone(pages[name][0])


@pytest.mark.parametrize("name", ["one", "many"])
def test_sections_come_in_the_order_in_which_they_are_read(
    pages: dict[str, tuple[Path, Page]], name: str
) -> None:
    check_order(pages[name][1], *ORDER)


def test_a_page_on_two_runs_has_the_same_order_before_it_tells_each(
    pages: dict[str, tuple[Path, Page]],
) -> None:
    sections = pages["both"][1].sections
    assert sections == [
        "Summary",
        "What limits them",
        "Shared figures",
        "What was asked differently",
        "Assumptions of all",
        "Provenance of all",
        "quickstart (one)",
        "quickstart (two)",
    ]


@pytest.mark.parametrize("name", ["one", "many", "both"])
def test_heads_figures_and_tables_can_be_read_without_seeing_them(
    pages: dict[str, tuple[Path, Page]], name: str
) -> None:
    _, page = pages[name]
    check_can_be_read_unseen(page)
    assert len(page.all("svg")) > 5


def test_a_page_names_all_that_its_figures_rest_on(runs: dict[str, Path]) -> None:
    path, _ = page_of(runs["one"])
    result = load_result(runs["one"])
    end = path.read_text(encoding="utf-8").split("<h2>Provenance</h2>")[1]
    simulation = result.summary["simulation"]
    for told in (simulation["version"], simulation["timing"]["hash"], "quickstart ("):
        assert told in end
    for row in ("seed", "timing profile", "date of the profile", "error of the profile"):
        assert f"<th scope=row>{row}</th>" in end
    assert "<th scope=row>extrapolates</th>" in end


def test_two_runs_stand_side_by_side_before_each_is_told(
    pages: dict[str, tuple[Path, Page]],
) -> None:
    path, page = pages["both"]
    assert page.heads[0] == (1, "2 runs side by side")
    text = path.read_text(encoding="utf-8")
    assert "<th scope=row>fleet.<wbr>0.<wbr>replicas</th><td>1</td><td>2</td>" in text
    assert "<th scope=row>GPUs</th><td>1</td><td>2<br><small>+100 %</small></td>" in text
    shown = [title for _, title in page.heads]
    assert shown.index("Latency by run") < shown.index("quickstart (one)")
    assert shown.index("quickstart (one)") < shown.index("quickstart (two)")


@pytest.mark.parametrize(("kind", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_figures_are_written_under_telling_names(
    runs: dict[str, Path], tmp_path: Path, kind: str, begin: bytes
) -> None:
    outcome = report(runs["one"], "--figures", tmp_path / "figures", "--format", kind)
    assert outcome.exit_code == 0, outcome.output
    written = {path.name: path for path in (tmp_path / "figures").iterdir()}
    for name in ("latency-by-tier", "where-the-time-goes", "memory-over-time", "cost-by-tenant"):
        assert written[f"{name}.{kind}"].read_bytes().startswith(begin)
    assert outcome.output.splitlines()[1:] == [
        line for line in outcome.output.splitlines() if line.endswith(f".{kind}")
    ]
    assert len(written) == len(outcome.output.splitlines()) - 1


def test_figures_of_several_runs_need_no_page(runs: dict[str, Path], tmp_path: Path) -> None:
    outcome = report(runs["one"], runs["two"], "--figures", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "time-to-first-token-by-run.png").is_file()
    assert (tmp_path / "quickstart-one" / "latency-by-tier.png").is_file()
    assert not list(tmp_path.glob("*.html"))


def test_what_cannot_be_is_one_sentence(runs: dict[str, Path], tmp_path: Path) -> None:
    for arguments, told in (
        ((runs["one"], runs["two"]), "--out FILE is needed"),
        ((runs["one"], "--format", "svg"), "goes with --figures"),
        ((tmp_path / "nowhere",), "does not exist"),
    ):
        outcome = report(*arguments)
        assert outcome.exit_code != 0
        assert told in str(outcome.exception)
