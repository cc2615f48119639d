"""What becomes of requests that are not let in at once: the base model, and clients who come again
when they are told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.scenario.schema import Scenario
from simlora.serving.request import COMPLETED, REJECTED
from tests.simulating import Ask, phases_s, run
from tests.unit.serving.adapter_stories import (
    COPY_S,
    DOWNLOAD_S,
    READ_S,
    STEP_S,
    recorded,
    scenario,
    sources,
    stats,
)


def rejecting(retries: int, retry_after_s: float = 0.7, **changes: Any) -> Scenario:
    return scenario(
        workload={"clients": {"retries": retries}},
        cold_start="reject",
        retry_after_s=retry_after_s,
        **{"initial_tier": "nvme"} | changes,
    )


def limited(retries: int, **limit: Any) -> Scenario:
    return scenario(
        workload={"clients": {"retries": retries}},
        gateway={"rate_limits": {"standard": {"over_limit": "reject"} | limit}},
    )


# --- come again ----------------------------------------------------------------------------


def test_a_client_comes_again_after_the_time_it_is_told() -> None:
    """The adapter is in host memory at 1.12; clients ask at 0, 0.7 and 1.4."""
    finished = run(rejecting(5), [Ask(0.0, 0)])
    (request,) = finished.requests
    assert 0.7 < READ_S < 1.4
    assert (request.status, request.reason, request.attempts) == (COMPLETED, "", 3)
    assert request.queue_s == pytest.approx(1.4)
    assert request.adapter_wait_s == pytest.approx(COPY_S)
    assert request.finish_s == pytest.approx(1.4 + COPY_S + STEP_S)
    assert phases_s(request) == pytest.approx(request.finish_s - request.arrival_s)
    assert sources(finished) == ["warm"]  # at last
    assert stats(finished).lookups == 3
    assert stats(finished).loads == 1


def test_it_gives_up_after_its_retries() -> None:
    (request,) = run(rejecting(1), [Ask(0.0, 0)]).requests
    assert (request.status, request.reason, request.attempts) == (REJECTED, "cold_start", 2)
    assert request.finish_s == pytest.approx(0.7)
    assert request.retry_after_s == 0.7
    (request,) = run(rejecting(0), [Ask(3.0, 0)]).requests
    assert (request.status, request.attempts, request.finish_s) == (REJECTED, 1, 3.0)


def test_the_adapter_is_fetched_once_however_often_its_client_asks() -> None:
    finished = run(rejecting(50, 0.1, initial_tier="store"), [Ask(0.0, 0), Ask(0.05, 0)])
    assert stats(finished).terms_s["request"] == pytest.approx(2.0)
    for request in finished.requests:
        assert request.status == COMPLETED
        came_s = request.arrival_s + (request.attempts - 1) * 0.1
        assert DOWNLOAD_S <= came_s < DOWNLOAD_S + 0.1
        assert request.queue_s == pytest.approx(came_s - request.arrival_s, abs=0.06)


def test_nobody_is_lost_on_the_way_back() -> None:
    asks = [Ask(0.3 * i, i % 4) for i in range(40)]
    finished = run(rejecting(2, 0.4).with_overrides({"adapters.warm.capacity_gb": 0.0014}), asks)
    assert [request.index for request in finished.requests] == list(range(40))
    ends = [request.status for request in finished.requests]
    assert set(ends) == {COMPLETED, REJECTED}
    for request in finished.requests:
        assert 1 <= request.attempts <= 3
        if request.status == COMPLETED:
            assert phases_s(request) == pytest.approx(request.finish_s - request.arrival_s)
        else:
            assert request.attempts == 3
            assert request.finish_s == pytest.approx(request.arrival_s + 0.8)


def test_who_is_on_the_way_back_when_the_run_ends_is_unfinished() -> None:
    of = rejecting(5, 10.0).with_overrides(
        {"workload.on_end": "discard", "workload.duration_s": 60}
    )
    (request,) = run(of, [Ask(2.0, 0)]).requests
    assert (request.status, request.attempts) not in ((COMPLETED, 1), (REJECTED, 1))
    assert request.finish_s == -1.0


@pytest.mark.parametrize(("burst", "waits"), [(1, [0.0, 1.5, 1.3]), (2, [0.0, 0.0, 1.3])])
def test_a_refusal_by_the_rate_limit_names_the_time_of_the_next_token(
    burst: int, waits: list[float]
) -> None:
    asks = [Ask(0.0), Ask(0.5), Ask(0.7)]
    finished = run(limited(0, rps=0.5, burst=burst), asks)
    for request, wait_s in zip(finished.requests, waits, strict=True):
        assert request.status == (REJECTED if wait_s else COMPLETED)
        assert request.retry_after_s == pytest.approx(wait_s or -1.0)
        assert request.reason == ("rate_limit" if wait_s else "")


def test_a_client_refused_by_the_rate_limit_comes_when_there_is_a_token() -> None:
    finished = run(limited(3, rps=0.5, burst=1), [Ask(0.0), Ask(0.5), Ask(10.0)])
    _, refused, later = finished.requests
    assert (refused.status, refused.attempts) == (COMPLETED, 2)
    assert refused.queue_s == pytest.approx(1.5)
    assert refused.finish_s == pytest.approx(2.0 + STEP_S)
    assert (later.attempts, later.queue_s) == (1, 0.0)


def test_two_who_are_told_the_same_time_take_turns() -> None:
    """Both are told to come at 2; one finds the token gone, and is told to come at 4."""
    finished = run(limited(3, rps=0.5, burst=1), [Ask(0.0), Ask(0.5), Ask(0.75)])
    assert [request.attempts for request in finished.requests] == [1, 2, 3]
    assert [request.finish_s for request in finished.requests] == pytest.approx(
        [STEP_S, 2.0 + STEP_S, 4.0 + STEP_S]
    )


def test_a_request_that_is_too_long_does_not_come_again() -> None:
    of = limited(9, rps=100.0, burst=10)
    (request,) = run(of, [Ask(0.0, -1, 4000, 200)]).requests
    assert (request.status, request.reason, request.attempts) == (REJECTED, "context_length", 1)


def test_results_count_attempts(tmp_path: Path) -> None:
    result = recorded(rejecting(5), [Ask(0.0, 0), Ask(20.0, 0), Ask(20.0, 1)], tmp_path)
    rows = result.requests.set_index("request")
    assert list(rows["attempts"][[0, 1, 2]]) == [3, 1, 3]
    assert result.summary["clients"]["retries"] == 4
    assert result.summary["requests"]["offered"] == 3
    assert rows["ttft_s"][0] == pytest.approx(1.4 + COPY_S + STEP_S)


# --- or the base model ---------------------------------------------------------------------


def test_the_base_models_share_is_of_the_tokens_of_those_who_wanted_an_adapter(
    tmp_path: Path,
) -> None:
    """Cold at 0, warm at 20; another adapter cold at 20; base-model requests do not count."""
    of = scenario(cold_start="base_model", initial_tier="nvme")
    asks = [Ask(0.0, 0, 10, 30), Ask(0.0, -1, 10, 100), Ask(20.0, 0, 10, 50), Ask(20.0, 1, 10, 20)]
    result = recorded(of, asks, tmp_path)
    assert result.summary["adapters"]["base_model_token_share"] == pytest.approx(50 / 100)
    assert result.summary["tiers"]["standard"]["base_model_token_share"] == pytest.approx(0.5)
    rows = result.requests.set_index("request")
    assert list(rows["base_fallback"].sort_index()) == [True, False, False, True]


def test_it_is_told_for_each_tier(tmp_path: Path) -> None:
    tenants = [{"name": "pro", "tier": "gold"}, {"name": "free", "count": 2}]
    of = scenario(tenants=tenants, cold_start="base_model", initial_tier="nvme")
    asks = [Ask(0.0, 0, 10, 10), Ask(20.0, 0, 10, 30), Ask(40.0, 1, 10, 20)]
    tiers = recorded(of, asks, tmp_path).summary["tiers"]
    assert tiers["gold"]["base_model_token_share"] == pytest.approx(0.25)
    assert tiers["standard"]["base_model_token_share"] == 1.0


def test_it_is_nothing_where_all_were_served_by_their_adapters(tmp_path: Path) -> None:
    of = scenario(cold_start="base_model")
    assert _share(of, [Ask(0.0, 0)], tmp_path / "warm") == 0.0
    assert _share(of, [Ask(0.0, -1)], tmp_path / "base") is None


def _share(of: Scenario, asks: list[Ask], directory: Path) -> float | None:
    share: float | None = recorded(of, asks, directory).summary["adapters"][
        "base_model_token_share"
    ]
    return share
