"""Versions of adapters in words, in the table of `run` and in the report."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from simlora.cli.tables import summary_table
from simlora.report.html import write_report
from simlora.report.version_words import rollouts, version_rows
from simlora.results.result import Result
from simlora.serving.canary import Verdict
from simlora.serving.versions import VersionFacts
from tests.unit.results.recorded import completed, deployment, record


def recorded(directory: Path, mode: dict[str, Any], fact: VersionFacts | None) -> Result:
    """Ten requests to acme of which every other one got the candidate, and one to free."""
    rollout = {**mode, "candidate": {"name": "next"}}
    tenants = [{"name": "acme", "rollout": rollout}, {"name": "free"}]
    of = deployment(tenants=tenants, tiers={})
    requests = [completed(of, i, float(i), decode_s=1.0 + i % 2) for i in range(10)]
    for request in requests[1::2]:
        request.adapter = of.candidates[0]
        request.shadow = mode["mode"] == "shadow"
    requests.append(completed(of, 10, 0.0, 1))
    return record(of, directory, requests, 60.0, versions=() if fact is None else (fact,))


def printed(result: Result) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(result.summary))
    return out.getvalue()


CANARY = {"mode": "canary", "share": 0.5}


def test_a_rollback_is_told_with_its_time_and_both_figures(tmp_path: Path) -> None:
    verdict = Verdict(42.0, "ttft_s", 99, 0.1, 0.25, 300, 200)
    result = recorded(tmp_path, CANARY, VersionFacts(0, 10, 5, rolled_back=verdict))
    (told,) = rollouts(result.summary)
    assert told == (
        "acme: canary, the candidate served 50 % of the requests that came while the rollout was "
        "on; rolled back at 42.0 s: its TTFT p99 was 250 ms, the stable version's 100 ms"
    )
    page = write_report(result).read_text()
    assert "Versions of adapters" in page and "acme next" in page
    text = printed(result)
    assert "rolled back at 42.0 s" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_candidate_that_failed_has_no_figure(tmp_path: Path) -> None:
    verdict = Verdict(42.0, "ttft_s", 99, 0.1, float("inf"), 300, 200)
    result = recorded(tmp_path, CANARY, VersionFacts(0, 10, 5, rolled_back=verdict))
    assert result.summary["versions"]["acme"]["rollback"]["candidate_s"] is None
    assert "was beyond measure, by failures" in rollouts(result.summary)[0]


def test_promotions_and_switches_are_told(tmp_path: Path) -> None:
    promoted = recorded(tmp_path / "a", CANARY, VersionFacts(0, 10, 5, promoted_at_s=30.0))
    assert rollouts(promoted.summary)[0].endswith("; promoted at 30 s")
    switch = {"mode": "switch", "every_s": 5.0}
    switched = recorded(tmp_path / "b", switch, VersionFacts(0, 10, 5, switched_at_s=(20.0,)))
    assert rollouts(switched.summary)[0].endswith("; 1 tenant changed over from 20 s to 20 s")


def test_each_version_has_a_row(tmp_path: Path) -> None:
    rows = version_rows(recorded(tmp_path, CANARY, None).summary)
    assert [row[:3] for row in rows] == [("acme stable", "5", "100 %"), ("acme next", "5", "100 %")]
    assert [row[6] for row in rows] == ["1.04 s", "2.04 s"]  # E2E p50


def test_copies_are_told_as_such_and_are_no_requests(tmp_path: Path) -> None:
    result = recorded(tmp_path, {"mode": "shadow", "share": 0.5}, VersionFacts(0, 5, 5))
    assert result.summary["requests"]["offered"] == 6
    assert len(result.requests) == 6
    assert result.summary["tiers"]["standard"]["requests"]["completed"] == 6
    assert [row[0] for row in version_rows(result.summary)] == ["acme stable", "acme next (copies)"]


def test_nothing_is_told_without_rollouts(tmp_path: Path) -> None:
    of = deployment()
    result = record(of, tmp_path, [completed(of, 0, 0.0)], 10.0)
    assert rollouts(result.summary) == [] and version_rows(result.summary) == []
    assert "Versions of adapters" not in write_report(result).read_text()
