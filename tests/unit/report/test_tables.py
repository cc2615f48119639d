"""The table that `run` prints."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from simlora.cli.tables import summary_table
from tests.unit.results.recorded import busy_run, deployment, record


def printed(summary: dict[str, object], width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(summary_table(summary))
    return out.getvalue()


def test_totals_and_tiers_are_told(tmp_path: Path) -> None:
    text = printed(busy_run(tmp_path, 400).summary)
    for part in (
        "400 offered",
        "rejected",
        "platinum",
        "free",
        "all",
        "missed",
        "TTFT p99 ≤ 500 ms",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_without_requests_prints_dashes(tmp_path: Path) -> None:
    text = printed(record(deployment(), tmp_path, [], 0.0).summary)
    assert "0 offered" in text
    assert "—" in text
