"""Token buckets: a burst at once, the sustained rate after it, per tenant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.scenario.deployment import expand
from simlora.scenario.schema import RateLimit
from simlora.serving.gateway import Gateway, Limiter
from simlora.serving.request import COMPLETED, REJECTED, Request
from tests.simulating import Ask, run, small_scenario


class Limited:
    """The limits of one tenant, asked with requests of some size."""

    def __init__(self, **limit: Any) -> None:
        self._limiter = Limiter(RateLimit(**limit))

    def wait_s(self, now: float, prompt_tokens: int = 1, output_tokens: int = 1) -> float:
        request = Request(0, now, 0, 0, -1, prompt_tokens, output_tokens)
        return self._limiter.wait_s(request, now)


def bucket(over_limit: Any, rps: float = 2.0, burst: int = 3) -> Limited:
    return Limited(rps=rps, burst=burst, over_limit=over_limit)


def test_a_client_that_comes_when_it_was_told_to_is_let_in() -> None:
    """Also where seconds are no binary fractions: it must not be a rounding too early."""
    limited = Limited(rps=7.0, burst=7)
    for start in range(200):
        now = start * 99.00015462028011
        for _ in range(7):
            assert limited.wait_s(now) == 0.0
        later = now + 0.00151421
        assert limited.wait_s(later + limited.wait_s(later)) == 0.0


def test_tokens_are_limited_by_prompt_and_longest_answer() -> None:
    limited = Limited(tokens_per_s=100.0, burst_tokens=300)
    assert limited.wait_s(0.0, 150, 50) == 0.0
    assert limited.wait_s(0.0, 150, 50) == pytest.approx(1.0)  # refused, and nothing taken
    assert limited.wait_s(1.0, 150, 50) == 0.0
    assert limited.wait_s(1.0, 1, 1) == pytest.approx(0.02)


def test_a_request_larger_than_the_bucket_passes_when_it_is_full() -> None:
    limited = Limited(tokens_per_s=100.0, burst_tokens=300)
    assert limited.wait_s(0.0, 900, 100) == 0.0
    assert limited.wait_s(0.0, 1, 1) == pytest.approx((1000 - 300 + 2) / 100)


def test_of_two_buckets_the_emptier_one_decides_and_a_refusal_takes_from_neither() -> None:
    limited = Limited(rps=1.0, burst=2, tokens_per_s=10.0, burst_tokens=100)
    assert limited.wait_s(0.0, 50, 50) == 0.0
    assert limited.wait_s(0.0, 50, 50) == pytest.approx(10.0)
    assert limited.wait_s(0.0, 1, 1) == pytest.approx(0.2)
    assert limited.wait_s(0.2, 1, 1) == 0.0  # the refused ones took no place


def test_a_burst_passes_at_once_and_the_next_has_to_wait() -> None:
    limited = bucket("reject")
    assert [limited.wait_s(10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_a_refused_request_costs_no_token() -> None:
    limited = bucket("reject")
    for _ in range(3):
        limited.wait_s(0.0)
    for now in (0.1, 0.2, 0.3, 0.4):
        assert limited.wait_s(now) > 0
    assert limited.wait_s(0.5) == 0.0
    assert limited.wait_s(0.5) > 0


def test_delayed_requests_line_up_at_the_sustained_rate() -> None:
    limited = bucket("delay")
    waits = [limited.wait_s(0.0) for _ in range(6)]
    assert waits == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0, 1.5])
    assert limited.wait_s(1.0) == pytest.approx(1.0)  # behind them


def test_an_unused_bucket_fills_up_to_its_burst_and_no_further() -> None:
    limited = bucket("reject")
    limited.wait_s(0.0)
    assert [limited.wait_s(1000.0) > 0 for _ in range(4)] == [False, False, False, True]


@given(
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=60),
    st.floats(0.5, 50.0),
    st.integers(1, 5),
    st.sampled_from(["reject", "delay"]),
)
def test_in_no_window_pass_more_than_rate_and_burst_allow(
    gaps: list[float], rps: float, burst: int, over_limit: str
) -> None:
    limited = bucket(over_limit, rps, burst)
    passed = []
    now = 0.0
    for gap in gaps:
        now += gap
        wait = limited.wait_s(now)
        if over_limit == "delay":
            passed.append(now + wait)
        elif wait == 0:
            passed.append(now)
    assert passed == sorted(passed)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            window = passed[last] - start
            assert last - first + 1 <= burst + rps * window + 1e-6


def admit(limits: dict[str, Any], tenants: list[int]) -> list[float]:
    """Decisions about requests of these tenants, all at 0; `pro-0000` is tenant 0."""
    deployment = expand(
        small_scenario(
            tenants=[{"name": "pro", "count": 2, "tier": "gold"}, {"name": "free", "count": 2}],
            gateway={"rate_limits": limits},
        )
    )
    gateway = Gateway(deployment, lambda _: 100)
    return [
        gateway.admit(Request(i, 0.0, tenant, deployment.tenants[tenant].tier, -1, 10, 10), 0.0)
        for i, tenant in enumerate(tenants)
    ]


def test_every_tenant_of_a_tier_has_a_bucket_of_its_own() -> None:
    limit = {"rps": 1.0, "burst": 1}
    assert admit({"gold": limit}, [0, 1, 0, 1, 2, 2]) == [0.0, 0.0, -1.0, -1.0, 0.0, 0.0]


def test_a_tenants_own_limit_wins_over_its_tiers() -> None:
    limits = {"gold": {"rps": 1.0, "burst": 1}, "pro-0001": {"rps": 1.0, "burst": 3}}
    assert admit(limits, [0, 0, 1, 1, 1, 1]) == [0.0, -1.0, 0.0, 0.0, 0.0, -1.0]


def test_a_request_longer_than_the_context_is_refused_with_the_reason() -> None:
    gateway = Gateway(expand(small_scenario()), lambda _: 100)
    too_long = Request(0, 0.0, 0, 0, -1, 60, 41)
    assert gateway.admit(too_long, 0.0) == -1.0
    assert too_long.reason == "context_length"
    assert gateway.admit(Request(1, 0.0, 0, 0, -1, 60, 40), 0.0) == 0.0


@pytest.mark.parametrize("over_limit", ["reject", "delay"])
def test_over_the_limit_a_run_rejects_or_holds_back(over_limit: str) -> None:
    limit = {"rps": 0.5, "burst": 1, "over_limit": over_limit}
    scenario = small_scenario(gateway={"rate_limits": {"standard": limit}})
    first, second = run(scenario, [Ask(0.0), Ask(0.5)]).requests
    assert first.status == COMPLETED
    if over_limit == "reject":
        assert (second.status, second.reason, second.finish_s) == (REJECTED, "rate_limit", 0.5)
    else:
        assert second.status == COMPLETED
        assert second.queue_s == pytest.approx(1.5)  # until the next token, at 2 s
        assert second.finish_s > 2.0
