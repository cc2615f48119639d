"""Several runs on one page: what tells them apart, and what they may be compared in."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from simlora.report.figure_files import write_figures
from simlora.report.html import write_reports
from simlora.report.run_names import names_of
from simlora.report.runs_page import shared_plots, side_by_side
from simlora.report.runs_table import change, how_timed, runs_table, value
from simlora.report.words import duration, share
from simlora.results.result import Result
from simlora.results.schema import MEASURED, MemoryFacts, TimingFacts
from tests.unit.results.recorded import busy_run, completed, deployment, record

ASKED = "name: recorded\nseed: {seed}\nfleet:\n- gpu: h100-80gb\n  replicas: {replicas}\n"


def simulated(place: Path, queue_s: float = 0.0, seed: int = 0, replicas: int = 2) -> Result:
    of = deployment()
    requests = [completed(of, i, float(i), i % 25, queue_s=queue_s) for i in range(100)]
    result = record(of, place, requests, 120.0)
    asked = ASKED.format(seed=seed, replicas=replicas)
    (place / "scenario.resolved.yaml").write_text(asked)
    return result


def served(place: Path) -> Result:
    """A run that a client measured."""
    of = deployment()
    requests = [completed(of, i, float(i), i % 25, source=0) for i in range(100)]
    unknown = MemoryFacts(page_bytes=1, pool_pages=0, weight_bytes=0, kv_capacity_tokens=0)
    timing = TimingFacts("http://server:8000", MEASURED)
    return record(of, place, requests, 120.0, timing=timing, memory=(unknown, unknown))


@pytest.fixture
def three(tmp_path: Path) -> list[Result]:
    slower = simulated(tmp_path / "slow", queue_s=2.0, seed=1, replicas=1)
    return [simulated(tmp_path / "fast"), slower, served(tmp_path / "server")]


def cells(html: str, row: str) -> list[str]:
    """What a reader sees in the cells of a row."""
    told = html.replace("<wbr>", "")
    (found,) = re.findall(rf"<th scope=row>{re.escape(row)}</th>(.*?)</tr>", told)
    shown = (re.sub(r"<[^>]+>", " ", cell) for cell in re.findall(r"<td>(.*?)</td>", found))
    return [" ".join(unescape(cell).split()) for cell in shown]


def test_runs_of_one_name_are_told_apart_by_their_directories(three: list[Result]) -> None:
    assert names_of(three) == ["recorded (fast)", "recorded (slow)", "recorded (server)"]
    assert names_of(three[:1]) == ["recorded"]
    twice = names_of([three[0], three[0]])
    assert len(set(twice)) == 2


def test_figures_stand_beside_each_other_with_the_difference_to_the_first(
    three: list[Result],
) -> None:
    html = runs_table(three, names_of(three))
    assert cells(html, "TTFT, p99") == ["40.0 ms", "2.04 s ×51", "40.0 ms"]
    assert cells(html, "times are") == [
        "simulated, roofline",
        "simulated, roofline",
        "measured at the client",
    ]
    assert cells(html, "promises to platinum") == ["met", "missed", "met"]
    assert cells(html, "requests offered") == ["100", "100", "100"]


def test_what_a_client_cannot_know_is_no_zero(three: list[Result]) -> None:
    assert value(three[2].summary, ("adapters", "loads"), inside=True) is None
    assert value(three[0].summary, ("adapters", "loads"), inside=True) == 0
    assert cells(runs_table(three, names_of(three)), "adapter loads") == ["0", "0", "—"]
    assert how_timed(three[2].summary) == "measured at the client"


@pytest.mark.parametrize(
    ("base", "other", "told"),
    [
        (2.0, 1.0, "−50 %"),
        (2.0, 2.05, "+2.5 %"),
        (2.0, 2.0000001, ""),
        (2.0, 2.0, ""),
        (2.0, 50.0, "×25"),
        (0.0, 1.0, ""),
        (None, 1.0, ""),
        (1.0, None, ""),
    ],
)
def test_a_difference_is_in_percent(base: float | None, other: float | None, told: str) -> None:
    assert change(base, other, duration) == told


def test_a_difference_of_shares_is_in_points() -> None:
    assert change(0.5, 0.62, share) == "+12.0 points"
    assert change(0.5, 0.50001, share) == ""


def test_the_page_says_what_was_asked_differently_and_warns(three: list[Result]) -> None:
    html = side_by_side(three[:2], names_of(three[:2]))
    asked = html[html.index("What was asked differently") : html.index("Assumptions of all")]
    assert cells(asked, "seed") == ["0", "1"]
    assert cells(asked, "fleet.0.replicas") == ["2", "1"]
    assert "not asked the same requests (seed)" in html
    assert "the simulation's error" not in html
    alike = [three[0], three[0]]
    same = side_by_side(alike, names_of(alike))
    assert "all runs have the same scenario and seed" in same
    assert "not asked the same requests" not in same
    assert "the simulation's error" in side_by_side(three, names_of(three))


def test_the_summary_says_who_keeps_promises_and_who_is_first(three: list[Result]) -> None:
    html = side_by_side(three[:2], ["fast", "slow"])
    assert "<p class=opening>fast keeps every promise. slow breaks a promise.</p>" in html
    assert "The shortest p99 of TTFT is that of fast (40.0 ms)" in html


def test_shared_figures_come_before_the_reports_of_each(
    three: list[Result], tmp_path: Path
) -> None:
    html = write_reports(three, tmp_path / "all.html").read_text()
    titles = [plot.title for plot in shared_plots(three, names_of(three))]
    assert titles == [
        "Latency by run",
        "Where the time goes, by run",
        "Time to first token, by run",
    ]
    first = html.index("<section class=run ")
    assert all(html.index(f"<h3>{title}</h3>") < first for title in titles)
    assert re.findall(r'<a href="#(run\d)">', html) == ["run0", "run1", "run2"]
    assert all(f'id="run{index}"' in html for index in range(3))
    ids = re.findall(r'<clipPath id="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_each_run_has_a_folder_of_figures_beside_the_shared_ones(tmp_path: Path) -> None:
    runs = [busy_run(tmp_path / name, 200, pro=5, free=20) for name in ("a", "b")]
    paths = write_figures(runs, tmp_path / "figures", "svg")
    names = {str(path.relative_to(tmp_path / "figures")) for path in paths}
    assert {"latency-by-run.svg", "load-over-time-by-run.svg"} < names
    for run in ("recorded-a", "recorded-b"):
        assert f"{run}/memory-over-time.svg" in names
    assert all(path.stat().st_size > 1000 for path in paths)


def test_runs_in_which_nothing_happened_share_no_figures(tmp_path: Path) -> None:
    empty = [record(deployment(), tmp_path / name, [], 0.0) for name in ("a", "b")]
    assert shared_plots(empty, names_of(empty)) == []
    assert "<svg" not in write_reports(empty, tmp_path / "none.html").read_text()
