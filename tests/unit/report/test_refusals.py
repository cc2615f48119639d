"""Who was turned away or failed, and why, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simlora.report import write_report
from simlora.report.refusals import refusal_heads, refusal_rows
from simlora.results.result import Result
from simlora.serving.request import FAILED, REJECTED
from tests.unit.report.test_tables import printed
from tests.unit.results.recorded import completed, deployment, ended, record


def lost(directory: Path) -> Result:
    of = deployment()
    requests = [completed(of, i, 1.0, 0) for i in range(4)]
    for index, (tenant, status, reason) in enumerate(
        [
            (0, FAILED, "timeout"),
            (7, REJECTED, "rate_limit"),
            (7, REJECTED, "rate_limit"),
            (7, REJECTED, "overloaded"),
        ]
    ):
        request = ended(of, 4 + index, 1.0, tenant, status)
        request.reason = reason
        requests.append(request)
    return record(of, directory, requests, 10.0)


def test_tiers_are_rows_and_reasons_columns_refusals_first(tmp_path: Path) -> None:
    summary = lost(tmp_path).summary
    assert refusal_heads(summary) == [
        "tier",
        "rejected\noverloaded",
        "rejected\nrate limit",
        "failed\ntimeout",
        "of its\nrequests",
    ]
    assert refusal_rows(summary) == [
        ["platinum", "0", "0", "1", "20 %"],
        ["free", "1", "2", "0", "100 %"],
    ]


def test_the_terminal_and_the_page_show_it(tmp_path: Path) -> None:
    result = lost(tmp_path)
    text = printed(result.summary)
    (row,) = [line.split() for line in text.splitlines() if line.split()[-2:] == ["100", "%"]]
    assert row == ["free", "1", "2", "0", "100", "%"]
    assert "rate limit" in text
    html = write_report(result).read_text()
    assert "<h2>Turned away or failed</h2>" in html
    assert "<tr><th scope=row>free</th><td>1</td><td>2</td><td>0</td><td>100 %</td></tr>" in html


def test_nothing_is_shown_where_nothing_was_lost_or_is_known(tmp_path: Path) -> None:
    of = deployment()
    kept = record(of, tmp_path / "a", [completed(of, 0, 0.0)], 10.0)
    assert refusal_rows(kept.summary) == []
    assert "Turned away" not in write_report(kept).read_text()
    old: dict[str, Any] = lost(tmp_path / "b").summary
    for tier in old["tiers"].values():
        del tier["requests"]["reasons"]
    assert refusal_rows(old) == []
    assert "rate limit" not in printed(old)
