"""The table that `run` prints."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from simlora.cli.tables import summary_table
from simlora.serving.request import FAILED, REJECTED
from tests.unit.results.recorded import busy_run, completed, deployment, ended, record


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
        "fairness",
        "Jain's index",
        "longest wait",
        "error budget",
        "spent",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80


def test_fairness_and_budgets_are_told_in_words(tmp_path: Path) -> None:
    of = deployment()
    requests = [completed(of, i, float(i)) for i in range(200)]
    requests += [completed(of, 200, 0.0, 7, queue_s=12.5), ended(of, 201, 0.0, 3, FAILED)]
    text = printed(record(of, tmp_path, requests, 300.0).summary)
    assert "Jain's index 0.666 of service" in text  # two of three got all, one nothing
    assert "longest wait  12.5 s, of free-0002" in text
    assert "49.8 % spent" in text  # 1 of the 2.01 that may fail


def test_what_an_older_run_does_not_tell_is_left_out(tmp_path: Path) -> None:
    of = deployment()
    requests = [completed(of, 0, 0.0), completed(of, 1, 0.0, 1), ended(of, 2, 0.0, 0, REJECTED)]
    summary = record(of, tmp_path, requests, 10.0).summary
    assert "error budget" in printed(summary)
    del summary["fairness"]
    for tier in summary["tiers"].values():
        del tier["error_budget"]
    text = printed(summary)
    assert "missed" in text
    for part in ("error budget", "fairness", "longest wait"):
        assert part not in text


def test_a_run_without_requests_prints_dashes(tmp_path: Path) -> None:
    text = printed(record(deployment(), tmp_path, [], 0.0).summary)
    assert "0 offered" in text
    assert "—" in text


def test_requests_that_lost_their_replica_are_not_called_preemptions(tmp_path: Path) -> None:
    calm = deployment()
    text = printed(
        record(calm, tmp_path / "a", [completed(calm, 0, 0.0)], 9.0, preemptions=27).summary
    )
    assert "27 preemptions" in " ".join(text.split())
    lossy = deployment(events=[{"at_s": 5.0, "duration_s": 2.0, "crash": 0}])
    text = printed(
        record(lossy, tmp_path / "b", [completed(lossy, 0, 0.0)], 9.0, preemptions=27).summary
    )
    told = " ".join(text.split())
    assert "requests interrupted 27 times by the loss of a replica or for memory" in told
    assert "preemption" not in told
