"""The HTML report: whole, self-contained and true to the summary."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner

from simlora.cli.report import report
from simlora.errors import UserError
from simlora.report import write_report
from simlora.report.html import write_reports
from simlora.report.limits import what_limits
from simlora.report.words import counted, duration, share, size, tick, tokens, usd
from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import BatchFacts
from simlora.serving.request import REJECTED
from tests.unit.results.recorded import (
    POOL_PAGES,
    busy_run,
    completed,
    deployment,
    ended,
    facts,
    record,
)

STEPS = BatchFacts(steps=1000, busy_s=10.0, mean_running=1.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return busy_run(tmp_path_factory.mktemp("run"), 500)


def test_the_page_is_self_contained_and_holds_every_section(run: Result) -> None:
    (run.directory / "scenario.resolved.yaml").write_text("name: <b>odd</b>\n")
    path = write_report(run)
    html = path.read_text()
    assert path == run.directory / "report.html"
    assert path.stat().st_size < 3_000_000
    assert html.count("<svg") == 9
    assert not re.search(r'(src|href)="(?!#|data:)', html)
    assert "://" not in html
    assert "&lt;b&gt;odd&lt;/b&gt;" in html
    assert re.findall(r"<h2>(.*?)</h2>", html) == [
        "Summary",
        "What limits this fleet",
        "Tiers and their promises",
        "Turned away or failed",
        "Fairness between tenants",
        "Figures",
        "Assumptions",
        "Provenance",
    ]
    heads = re.findall(r"<h3>(.*?)</h3>", html)
    assert {"Latency over time", "Memory over time", "Tenants in order"} < set(heads)
    ids = re.findall(r'<clipPath id="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_figures_take_the_pages_colours(run: Result) -> None:
    svgs = re.findall(r"<svg.*?</svg>", write_report(run).read_text(), re.DOTALL)
    for svg in svgs:
        ET.fromstring(svg)
        assert "var(--ink)" in svg
        assert "#010203" not in svg


def test_equal_results_give_equal_pages(run: Result, tmp_path: Path) -> None:
    first = write_report(run, tmp_path / "a.html").read_bytes()
    assert write_report(run, tmp_path / "b.html").read_bytes() == first


def test_a_run_in_which_nothing_completed_still_reports(tmp_path: Path) -> None:
    of = deployment()
    refused = record(of, tmp_path / "a", [ended(of, 0, 0.0, 0, REJECTED)], 1.0)
    html = write_report(refused).read_text()
    assert "No request completed" in html
    assert "<svg" not in html
    nothing = record(of, tmp_path / "b", [], 0.0)
    assert "<h1>recorded</h1>" in write_report(nothing).read_text()


def test_several_runs_share_a_page_and_each_has_a_part(run: Result, tmp_path: Path) -> None:
    html = write_reports([run, run], tmp_path / "sub" / "two.html").read_text()
    assert html.count("<h1>") == 1
    assert html.count("<section class=run ") == 2
    assert re.findall(r"<section class=run id=\"(\w+)\">\n<h2>(.*?)</h2>", html) == [
        ("run0", "recorded (run0) (1)"),
        ("run1", "recorded (run0) (2)"),
    ]
    ids = re.findall(r'<clipPath id="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_what_cannot_be_written_is_one_sentence(run: Result, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write the report"):
        write_report(run, tmp_path)


def test_the_command_prints_where_the_report_lies(run: Result, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(report, [str(run.directory), "--out", str(tmp_path / "r.html")])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.output.strip() == str(tmp_path / "r.html")
    outcome = CliRunner().invoke(report, [str(run.directory)] * 2)
    assert isinstance(outcome.exception, UserError)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"queue_s": 5.0}, "the replicas are idle at times"),
        ({"adapter_wait_s": 5.0}, "Loading adapters is the limit"),
        ({}, "it has capacity to spare"),
        ({"queue_s": 0.02}, "it has capacity to spare"),  # the step under way, no queue
    ],
)
def test_the_limit_is_named(tmp_path: Path, change: dict[str, float], expected: str) -> None:
    of = deployment()
    requests = [completed(of, i, float(i), **change) for i in range(20)]  # type: ignore[arg-type]
    assert expected in what_limits(record(of, tmp_path, requests, 30.0, batch=STEPS))[0]


@pytest.mark.parametrize(
    ("waiting", "running", "kv_pages", "expected"),
    [
        (0, 5, 10_000, "On average nothing holds requests back"),
        (50, 5, 10_000, "Compute is the limit"),
        (50, 256, 10_000, "The batch is the limit"),
        (50, 5, 900_000, "GPU memory is the limit"),
        (None, 5, 10_000, "This fleet is overloaded: the queue grew"),
    ],
)
def test_what_was_full_while_requests_waited_is_the_limit(
    tmp_path: Path, waiting: int | None, running: int, kv_pages: int, expected: str
) -> None:
    of = deployment()
    recorder = Recorder(of, tmp_path, warmup_s=0.0)
    queue_s = 0.0 if waiting == 0 else 5.0
    recorder.pending += [completed(of, i, i / 8, queue_s=queue_s) for i in range(800)]
    for tenth in range(0, 1000, 5):
        queued = tenth // 10 if waiting is None else waiting
        free = POOL_PAGES - kv_pages
        recorder.sample(tenth / 10, 0, running, queued, kv_pages, 0, 0, free, 5)
    busy = BatchFacts(steps=20_000, busy_s=190.0, mean_running=5.0)
    verdict, evidence, *_ = what_limits(recorder.close(facts(100.0, batch=busy)))
    assert expected in verdict
    assert ("filled up to 90 %" in evidence) == (kv_pages == 900_000)


def test_a_missed_promise_is_told_with_its_phase(tmp_path: Path) -> None:
    of = deployment()
    requests = [completed(of, i, float(i), adapter_wait_s=2.0) for i in range(20)]
    told = " ".join(what_limits(record(of, tmp_path, requests, 30.0)))
    missed = "TTFT p99 ≤ 500 ms (measured 2.04 s, error budget spent 100 times)"
    assert f"Tier platinum misses {missed}." in told
    assert "waiting for the adapter, 2.00 s" in told


def test_an_error_budget_stands_beside_its_promise(tmp_path: Path) -> None:
    of = deployment()
    requests = [completed(of, i, float(i)) for i in range(400)]
    requests += [ended(of, 400 + i, 0.0, 0, REJECTED) for i in range(3)]
    html = write_report(record(of, tmp_path, requests, 500.0)).read_text()
    assert "74.4 % spent<br>1 request left" in html  # 3 of the 4.03 that 1 % of 403 is
    assert "0 % spent<br>4 requests left" in html
    assert "An error budget is" in html
    missed = requests + [ended(of, 403 + i, 0.0, 0, REJECTED) for i in range(100)]
    told = write_report(record(of, tmp_path, missed, 500.0)).read_text()
    assert "spent 20 times<br>98 requests too many" in told
    assert "error budget spent 20 times" in told  # where missed promises are explained


def test_without_what_older_runs_did_not_tell_the_page_has_no_empty_columns(run: Result) -> None:
    tiers = {
        name: {key: value for key, value in tier.items() if key != "error_budget"}
        for name, tier in run.summary["tiers"].items()
    }
    summary = {key: value for key, value in run.summary.items() if key != "fairness"}
    html = write_report(Result(run.directory, {**summary, "tiers": tiers})).read_text()
    assert "Tiers and their promises" in html
    assert "error budget" not in html.lower()
    assert "Fairness" not in html


def test_words() -> None:
    assert [duration(s) for s in (None, 0, 4.2e-5, 0.0123, 0.9999, 59.94, 3600.0, 86400.0)] == [
        "—",
        "0",
        "42.0 µs",
        "12.3 ms",
        "1.00 s",
        "59.9 s",
        "60.0 min",
        "24.0 h",
    ]
    assert [tick(s) for s in (0, 0.0005, 0.5, 2.0, 90.0)] == [
        "0",
        "500 µs",
        "500 ms",
        "2 s",
        "90 s",
    ]
    assert [tokens(n) for n in (None, 0, 980, 23_488)] == ["—", "0", "980", "23.5 k"]
    assert [counted(n, "GPU") for n in (0, 1, 1200)] == ["0 GPUs", "1 GPU", "1,200 GPUs"]
    assert [share(s) for s in (None, 0.5, 0.99999, 1.0)] == ["—", "50 %", "99.999 %", "100 %"]
    assert [size(s) for s in (None, 12.0, 83_886_080)] == ["—", "12 B", "83.9 MB"]
    assert [usd(s) for s in (None, 0.1234, 12.3, 1234.5)] == ["—", "$0.123", "$12.30", "$1,234"]
