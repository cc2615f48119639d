"""What the dashboard simulates at most."""

from __future__ import annotations

import pytest

from simlora import Scenario, UserError
from simlora.dashboard.limits import MOST_REQUESTS, check_size, expected_requests
from simlora.dashboard.scenario_text import scenario_from_text
from simlora.dashboard.state import default_text


@pytest.fixture
def scenario() -> Scenario:
    return scenario_from_text(default_text(), "default")


def test_the_default_scenario_is_small_enough_for_many_runs(scenario: Scenario) -> None:
    check_size(scenario, 60)
    assert 500 < expected_requests(scenario) < 3000


def test_expected_requests_are_rate_times_time_or_the_bound_on_their_number(
    scenario: Scenario,
) -> None:
    assert expected_requests(scenario) == 8 * 240
    bounded = scenario.with_overrides({"workload.max_requests": 500})
    assert expected_requests(bounded) == 500
    assert (
        expected_requests(
            scenario.with_overrides({"workload.duration_s": None, "workload.max_requests": 900})
        )
        == 900
    )


def test_rates_by_group_and_bursts_of_groups_count(scenario: Scenario) -> None:
    burst = {"tenant": "gold", "start_s": 1, "duration_s": 2, "requests": 10}
    changed = scenario.with_overrides(
        {
            "workload.rate_rps": None,
            "tenants.0.rate_rps_each": 0.5,
            "tenants.1.rate_rps_each": 0,
            "tenants.2.rate_rps_each": 0.1,
            "workload.arrivals": {"bursts": [burst]},
        }
    )
    assert expected_requests(changed) == pytest.approx(240 * (20 * 0.5 + 120 * 0.1) + 20 * 10)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"workload.duration_s": 1e6}, "8,000,000 requests"),
        ({"tenants.0.count": 50_000}, "50,180 tenants"),
        ({"tenants.0.adapters": 10_000}, "200,180 adapters"),
        ({"fleet.0.replicas": 500}, "500 replicas"),
        ({"run.fast_forward": False}, "fast_forward"),
        ({"run.decisions": True}, "decisions"),
    ],
)
def test_more_is_refused_in_one_sentence(
    scenario: Scenario, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(UserError, match=told) as raised:
        check_size(scenario.with_overrides(changes))
    assert "command line" in str(raised.value)


def test_several_runs_count_together(scenario: Scenario) -> None:
    runs = int(MOST_REQUESTS // expected_requests(scenario))
    check_size(scenario, runs)
    with pytest.raises(UserError, match=f"in {runs + 1} runs"):
        check_size(scenario, runs + 1)
