"""What of a promise's error budget is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.results.budget import error_budget
from simlora.serving.request import FAILED, REJECTED, WAITING
from tests.unit.results.recorded import completed, deployment, ended, record


def platinum(directory: Path, requests: list[Any], **fields: Any) -> dict[str, Any]:
    of = deployment(**fields)
    summary = record(of, directory, requests, 1000.0).summary
    tier: dict[str, Any] = summary["tiers"]["platinum"]
    return tier


def test_the_budget_of_an_availability_by_hand(tmp_path: Path) -> None:
    of = deployment()
    answered = [completed(of, i, 0.0) for i in range(498)]
    lost = [ended(of, 498, 0.0, 0, REJECTED), ended(of, 499, 0.0, 1, FAILED)]
    assert platinum(tmp_path, answered + lost)["error_budget"]["availability"] == {
        "allowed_share": 0.01,
        "spent_share": 2 / 500,
        "spent_ratio": pytest.approx(0.4),
        "requests_left": 3,
    }


@pytest.mark.parametrize("lost", [5, 6])
def test_a_promise_is_broken_once_fewer_than_no_requests_are_left(
    tmp_path: Path, lost: int
) -> None:
    of = deployment()
    requests = [completed(of, i, 0.0) for i in range(500 - lost)]
    requests += [ended(of, 500 - lost + i, 0.0, 0, REJECTED) for i in range(lost)]
    tier = platinum(tmp_path, requests)
    assert tier["error_budget"]["availability"]["requests_left"] == 5 - lost
    assert tier["sla"]["availability"]["met"] is (lost == 5)


def test_an_availability_of_one_allows_nothing() -> None:
    perfect = error_budget(0.0, 0, 100, told=True)
    assert (perfect["spent_ratio"], perfect["requests_left"]) == (None, 0)
    assert error_budget(0.0, 2, 100, told=True)["requests_left"] == -2


@pytest.mark.parametrize("judged", [20_000, 200_000, 2_000_000])
def test_rounding_costs_no_request(judged: int) -> None:
    assert error_budget(1 - 0.9995, 0, judged, told=True)["requests_left"] == judged // 2000
    assert error_budget(1 - 0.9999, 0, judged, told=True)["requests_left"] == judged // 10_000


def test_a_p99_allows_one_request_in_a_hundred_to_be_late(tmp_path: Path) -> None:
    of = deployment()
    within = [completed(of, i, 0.0, queue_s=0.1) for i in range(395)]
    late = [completed(of, 395 + i, 0.0, queue_s=3.0) for i in range(2)]
    overdue = [ended(of, 397, 0.0, 0, WAITING)]
    refused = [ended(of, 398 + i, 0.0, 0, REJECTED) for i in range(2)]  # never had a first token
    tier = platinum(tmp_path, within + late + overdue + refused)
    assert tier["error_budget"]["ttft_p99_s"] == {
        "allowed_share": 0.01,
        "spent_share": pytest.approx(3 / 398),
        "spent_ratio": pytest.approx(3 / 3.98),
        "requests_left": 0,
    }
    assert tier["sla"]["ttft_p99_s"]["met"] is True


def test_each_bound_has_a_budget_of_its_own(tmp_path: Path) -> None:
    sla = {"ttft_p99_s": 0.5, "tpot_p99_s": 0.15, "e2e_p99_s": 2.0}
    tiers = {"platinum": {"sla": sla}, "free": {}}
    of = deployment(tiers=tiers)
    requests = [
        completed(of, 0, 0.0, queue_s=0.6),  # a late first token
        completed(of, 1, 0.0, decode_s=1.6),  # 0.16 s a token
        completed(of, 2, 0.0, decode_s=3.0),  # slow tokens, and a late end
        completed(of, 3, 0.0),
        completed(of, 4, 0.0, output_tokens=1, decode_s=0.0),  # has no TPOT
        completed(of, 5, 0.0, 9, queue_s=9.0),  # of the other tier
    ]
    budgets = platinum(tmp_path, requests, tiers=tiers)["error_budget"]
    assert {bound: budget["spent_share"] for bound, budget in budgets.items()} == {
        "ttft_p99_s": 1 / 5,
        "tpot_p99_s": 2 / 4,
        "e2e_p99_s": 1 / 5,
    }


def test_without_a_promise_or_a_verdict_there_is_no_budget(tmp_path: Path) -> None:
    of = deployment()
    answered = [completed(of, i, 990.0 - i, 0) for i in range(5)]
    young = [ended(of, 5 + i, 999.9, 0, WAITING) for i in range(20)]
    summary = record(of, tmp_path, answered + young, 1000.0).summary
    assert summary["tiers"]["free"]["error_budget"] is None
    for budget in summary["tiers"]["platinum"]["error_budget"].values():
        assert budget["allowed_share"] == 0.01
        assert budget["spent_share"] is budget["spent_ratio"] is budget["requests_left"] is None


def test_requests_of_the_warmup_spend_nothing(tmp_path: Path) -> None:
    of = deployment()
    early = [completed(of, i, 1.0, queue_s=100.0) for i in range(10)]
    late = [completed(of, 10 + i, 200.0) for i in range(10)]
    summary = record(of, tmp_path, early + late, 1000.0, warmup_s=100.0).summary
    assert summary["tiers"]["platinum"]["error_budget"]["ttft_p99_s"]["spent_share"] == 0.0
