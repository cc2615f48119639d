"""Fairness and error budgets in words."""

from __future__ import annotations

import pytest

from simlora.report.fairness_words import (
    budget,
    budget_left,
    fairness_rows,
    indexes,
    jain,
    longest_wait,
)


def test_an_index_is_never_rounded_up_to_one() -> None:
    told = [jain(value) for value in (None, 0.5, 0.46789, 0.9999, 1.0, 1 - 1e-16)]
    assert told == ["—", "0.500", "0.467", "0.999", "1", "1"]


def test_one_tenant_has_nobody_to_be_compared_with() -> None:
    one = {"tenants": 1, "service_jain": 1.0, "latency_jain": 1.0}
    assert indexes(one) == indexes(None) == indexes({}) == ""
    assert indexes(one | {"tenants": 2, "latency_jain": None}) == (
        "Jain's index 1 of service, — of latency"
    )


def test_the_longest_wait_names_its_tenant() -> None:
    assert longest_wait({"longest_wait_s": 12.5, "longest_wait_tenant": "a"}) == "12.5 s, of a"
    assert longest_wait({"longest_wait_s": 12.5}) == "12.5 s"
    assert longest_wait({"longest_wait_s": 0.0}) == longest_wait(None) == ""


def test_all_is_a_row_only_beside_several_tiers() -> None:
    tier = {"tenants": 3, "service_jain": 1.0, "latency_jain": 0.5, "longest_wait_s": 0.0}
    row = ("3", "1", "0.500", "0")
    assert fairness_rows(tier | {"tiers": {"a": tier}}) == [("a", *row)]
    quiet = {"tenants": 0}
    assert fairness_rows(tier | {"tiers": {"a": tier, "q": quiet}}) == [("a", *row)]
    both = fairness_rows(tier | {"tiers": {"a": tier, "b": tier}})
    assert [name for name, *_ in both] == ["a", "b", "all"]


@pytest.mark.parametrize(
    ("ratio", "left", "told"),
    [
        (0.0, 4, ["0 % spent", "4 requests left"]),
        (0.12, 1, ["12 % spent", "1 request left"]),
        (2.5, -3, ["250 % spent", "3 requests too many"]),
        (9.99, -9, ["999 % spent", "9 requests too many"]),
        (60.4, -1234, ["spent 60 times", "1,234 requests too many"]),
        (None, 0, ["none allowed", "0 requests left"]),
        (None, -2, ["none allowed", "2 requests too many"]),
    ],
)
def test_a_budget(ratio: float | None, left: int, told: list[str]) -> None:
    spent_share = -left / 100 if ratio is None else ratio / 100
    entry = {"spent_share": spent_share, "spent_ratio": ratio, "requests_left": left}
    tier = {"error_budget": {"availability": entry}}
    assert budget(tier, "availability") == told[0]
    assert budget_left(tier, "availability") == told


def test_an_unknown_budget_is_not_told() -> None:
    entry = {"allowed_share": 0.01, "spent_share": None, "spent_ratio": None}
    for tier in ({}, {"error_budget": None}, {"error_budget": {"availability": entry}}):
        assert budget(tier, "availability") == ""
        assert budget_left(tier, "availability") == []
