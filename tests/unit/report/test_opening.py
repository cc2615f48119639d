"""The first sentences: promises, price and limit, for somebody who reads nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from simlora.report.limits import what_limits
from simlora.report.opening import (
    by_verdict,
    cost_sentence,
    limit_sentence,
    opening,
    promises_sentence,
)
from tests.unit.results.recorded import completed, deployment, record


def summary_of(
    tmp_path: Path, *, promising: tuple[str, ...] = ("platinum",), **change: float
) -> dict[str, Any]:
    tiers = {
        name: {"sla": {"ttft_p99_s": 0.5}} if name in promising else {}
        for name in ("platinum", "free")
    }
    of = deployment(tiers=tiers)
    requests = [completed(of, i, float(i), i % 25, **change) for i in range(200)]  # type: ignore[arg-type]
    return record(of, tmp_path, requests, 300.0).summary


def with_verdicts(summary: dict[str, Any], **verdicts: bool | None) -> dict[str, Any]:
    changed = copy.deepcopy(summary)
    for tier, met in verdicts.items():
        changed["tiers"][tier]["sla"]["ttft_p99_s"]["met"] = met
    return changed


def test_kept_and_broken_promises_are_told_by_tier(tmp_path: Path) -> None:
    kept = summary_of(tmp_path / "a")
    assert promises_sentence(kept) == "This fleet keeps its promise to platinum."
    late = summary_of(tmp_path / "b", queue_s=2.0)
    assert promises_sentence(late) == "This fleet breaks its promise to platinum."
    assert by_verdict(late) == ([], ["platinum"], [])


@pytest.mark.parametrize(
    ("platinum", "free", "expected"),
    [
        (True, True, "This fleet keeps every promise to platinum and free."),
        (
            True,
            False,
            "This fleet breaks its promise to free and keeps that to platinum.",
        ),
        (
            True,
            None,
            (
                "This fleet keeps its promise to platinum and this run is too short or too small "
                "to tell whether it keeps that to free."
            ),
        ),
        (
            None,
            None,
            (
                "This run is too short or too small to tell whether it keeps that to platinum "
                "and free."
            ),
        ),
    ],
)
def test_of_several_tiers_each_is_told(
    tmp_path: Path, platinum: bool | None, free: bool | None, expected: str
) -> None:
    both = summary_of(tmp_path, promising=("platinum", "free"))
    assert promises_sentence(with_verdicts(both, platinum=platinum, free=free)) == expected


def test_without_promises_it_tells_how_requests_fared(tmp_path: Path) -> None:
    told = promises_sentence(summary_of(tmp_path / "a", promising=()))
    assert told == (
        "No tier is promised anything; 100 % of 200 requests completed, 99 of 100 of them with a "
        "first token within 40.0 ms."
    )
    nothing = record(deployment(), tmp_path / "b", [], 0.0).summary
    assert "nothing to keep" in promises_sentence(nothing)


def test_the_price_is_a_months_and_that_of_tokens(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    assert cost_sentence(summary).startswith("Its 2 GPUs would cost $5,760 a month (720 hours)")
    assert "a million output tokens at this load" in cost_sentence(summary)
    scaling = copy.deepcopy(summary)
    scaling["cost"]["fleet_usd_per_month"] = 1000.0
    assert "2 GPUs, rented no longer than in this run, would cost $1,000" in cost_sentence(scaling)
    free = copy.deepcopy(summary)
    free["cost"] |= {"fleet_usd_per_month": 0.0, "usd_per_million_output_tokens": 0.0}
    assert cost_sentence(free) == "Its hardware has no price."


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("Compute is the limit: requests wait for steps.", "Compute is the limit."),
        ("GPU memory is the limit, full while requests waited. More would help.", None),
        (
            (
                "This fleet is overloaded: the queue grew, to 9. The latencies say little. "
                "Loading adapters is the limit: requests wait."
            ),
            "This fleet is overloaded, and loading adapters is the limit.",
        ),
        (
            "This fleet is overloaded: it grew. GPU memory is the limit: 3 preemptions.",
            "This fleet is overloaded, and GPU memory is the limit.",
        ),
        ("The first token took 31.1 ms on average. Where the rest goes", None),
    ],
)
def test_the_limit_is_told_without_its_figures(paragraph: str, expected: str | None) -> None:
    assert limit_sentence([paragraph]) == (expected or paragraph.split(". ")[0] + ".")


def test_the_opening_has_all_three(tmp_path: Path) -> None:
    of = deployment()
    requests = [completed(of, i, float(i), i % 25, adapter_wait_s=2.0) for i in range(200)]
    result = record(of, tmp_path, requests, 300.0)
    told = opening(result.summary, what_limits(result))
    assert told.index("breaks its promise") < told.index("$5,760") < told.index("is the limit")
