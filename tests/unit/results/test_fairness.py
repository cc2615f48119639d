"""Jain's index, longest waits and error budgets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.results.budget import error_budget
from simlora.results.fairness import jain_index, weighted_tokens
from simlora.sim import simulate
from tests.simulating import small_scenario


def test_an_output_token_counts_as_two_input_tokens() -> None:
    assert weighted_tokens(100, 7) == 114


def test_jains_index_by_hand() -> None:
    assert jain_index(np.array([5.0, 5.0, 5.0])) == pytest.approx(1.0)
    assert jain_index(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    assert jain_index(np.array([1.0, 2.0, 3.0])) == pytest.approx(36 / (3 * 14))
    assert jain_index(np.array([])) is None
    assert jain_index(np.zeros(3)) is None


@given(
    st.lists(st.just(0.0) | st.floats(1e-200, 1e200), min_size=1, max_size=50), st.floats(1e-3, 1e3)
)
def test_jains_index_lies_between_one_nth_and_one_whatever_the_unit(
    shares: list[float], unit: float
) -> None:
    index = jain_index(np.array(shares))
    if not any(shares):
        assert index is None
        return
    assert index is not None
    assert 1 / len(shares) - 1e-9 <= index <= 1 + 1e-9
    assert jain_index(np.array(shares) * unit) == pytest.approx(index, rel=1e-6)


def test_an_error_budget_by_hand() -> None:
    kept = error_budget(1 - 0.999, broken=3, judged=10_000, told=True)
    assert kept["allowed_share"] == pytest.approx(0.001)
    assert kept["spent_share"] == pytest.approx(0.0003)
    assert kept["spent_ratio"] == pytest.approx(0.3)
    assert kept["requests_left"] == 7
    overspent = error_budget(0.01, broken=30, judged=1_000, told=True)
    assert (overspent["spent_ratio"], overspent["requests_left"]) == (pytest.approx(3.0), -20)
    assert error_budget(0.0, broken=1, judged=10, told=True)["spent_ratio"] is None
    untold = error_budget(0.01, broken=0, judged=10, told=False)
    assert untold["spent_share"] is untold["spent_ratio"] is untold["requests_left"] is None


def test_a_run_tells_whose_the_longest_wait_was_also_if_it_never_ended() -> None:
    scenario = small_scenario(
        seed=3,
        engine={"max_num_seqs": 1, "max_model_len": 1024},
        tenants=[{"name": "busy", "count": 3}, {"name": "idle", "tier": "other"}],
        workload={
            "rate_rps": 40.0,
            "duration_s": 20.0,
            "on_end": "discard",
            "output_tokens": {"fixed": 100},
        },
        tiers={"other": {}, "standard": {"sla": {"availability": 0.9, "ttft_p99_s": 0.5}}},
    )
    result = simulate(scenario)
    requests, fairness = result.requests, result.summary["fairness"]
    assert result.summary["requests"]["unfinished"] > 0
    waits_s = requests["queue_s"] + requests["adapter_wait_s"]
    longest = requests.loc[waits_s.idxmax()]
    assert fairness["longest_wait_s"] == pytest.approx(waits_s.max())
    assert fairness["longest_wait_tenant"] == longest["tenant"]
    assert fairness["tenants"] == requests["tenant"].astype(str).nunique()
    tenants = result.tenants.set_index("tenant")
    of_one = waits_s[requests["tenant"] == "busy-0001"]
    assert tenants.loc["busy-0001", "longest_wait_s"] == pytest.approx(of_one.max())
    budget = result.summary["tiers"]["standard"]["error_budget"]
    assert set(budget) == {"availability", "ttft_p99_s"}
    assert budget["ttft_p99_s"]["spent_ratio"] > 1  # one sequence at a time keeps nobody's promise
