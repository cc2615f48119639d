"""A noisy neighbour: one burst makes all the difference, and others can be protected from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.planning.harm import harm
from simlora.planning.noisy_neighbour import (
    BOTH,
    BUCKET_BURST,
    BUCKET_RPS,
    FAIR_QUEUEING,
    PROTECTIONS,
    TOKEN_BUCKETS,
    UNCHANGED,
    calm,
    independent,
    noisy,
    protected,
)
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.workload.traffic import open_traffic
from tests.simulating import small_scenario

LOUD = "tenant-0003"


def asked_of(scenario: Scenario) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """When the loud tenant's requests arrive, and when the others' do."""
    blocks = list(open_traffic(expand(scenario)).blocks())
    arrival_s = np.concatenate([block.arrival_s for block in blocks])
    tenant = np.concatenate([block.tenant for block in blocks])
    return arrival_s[tenant == 3], arrival_s[tenant != 3]


def lasting(**workload: Any) -> Scenario:
    return small_scenario(workload={"rate_rps": 2.0} | workload)


@pytest.mark.parametrize(
    ("workload", "length_s"),
    [
        ({"duration_s": 100.0}, 100.0),
        ({}, 600.0),
        ({"max_requests": 400}, 200.0),
        ({"max_requests": 400, "duration_s": 500.0}, 200.0),
        ({"max_requests": 400, "duration_s": 50.0}, 50.0),
    ],
)
def test_the_burst_lies_in_the_middle_of_the_arrivals_whatever_ends_them(
    workload: dict[str, Any], length_s: float
) -> None:
    (burst,) = noisy(lasting(**workload), LOUD, 40).workload.arrivals.bursts  # type: ignore[union-attr]
    assert (burst.tenant, burst.requests) == (LOUD, 40)
    assert burst.start_s == pytest.approx(0.4 * length_s)
    assert burst.duration_s == pytest.approx(0.1 * length_s)


def test_a_rate_of_each_tenant_ends_the_requests_as_one_of_all_does() -> None:
    each = small_scenario(
        tenants=[{"name": "tenant", "count": 4, "rate_rps_each": 0.5}],
        workload={"max_requests": 400},
    )
    whole = noisy(lasting(max_requests=400), LOUD, 40)
    assert noisy(each, LOUD, 40).workload.arrivals == whole.workload.arrivals


def test_nobody_elses_requests_change_with_the_burst() -> None:
    scenario = lasting(duration_s=100.0, arrivals={"gamma": {"cv": 4}})
    own_s, others_s = asked_of(calm(scenario))
    loud_s, unchanged_s = asked_of(noisy(scenario, LOUD, 40))
    np.testing.assert_array_equal(others_s, unchanged_s)
    more_s = np.setdiff1d(loud_s, own_s)
    assert len(loud_s) == len(own_s) + len(more_s) == len(own_s) + 40
    assert 40.0 <= more_s.min() < more_s.max() <= 50.0


def test_a_pattern_of_arrivals_gives_way_to_poisson_of_the_same_rate_and_poisson_stays() -> None:
    bursts = [{"tenant": LOUD, "start_s": 1, "duration_s": 1, "requests": 9}]
    poisson = lasting(duration_s=100.0)
    for arrivals in ("diurnal", {"bursts": bursts}, {"gamma": {"cv": 4}}):
        assert independent(lasting(duration_s=100.0, arrivals=arrivals)) == poisson
    assert independent(poisson) is poisson
    assert calm(poisson) is poisson


@pytest.mark.parametrize(
    ("protection", "policy", "limited"),
    [
        (UNCHANGED, "fcfs", False),
        (FAIR_QUEUEING, "wfq", False),
        (TOKEN_BUCKETS, "fcfs", True),
        (BOTH, "wfq", True),
    ],
)
def test_a_protection_is_at_the_gateway_of_both_cases_and_for_every_tier(
    protection: str, policy: str, limited: bool
) -> None:
    tenants = [{"name": "gold", "tier": "gold"}, {"name": "plain"}]
    scenario = small_scenario(tenants=tenants, tiers={"gold": {"weight": 2}})
    for made in (calm(scenario, protection), noisy(scenario, "plain-0000", 5, protection)):
        assert made.gateway.fairness.policy == policy
        tiers = {"gold", scenario.tenants[1].tier} if limited else set()
        assert set(made.gateway.rate_limits) == tiers
        for bucket in made.gateway.rate_limits.values():
            assert (bucket.rps, bucket.burst) == (BUCKET_RPS, BUCKET_BURST)
            assert bucket.over_limit == "delay"


@pytest.mark.parametrize("protection", [name for name in PROTECTIONS if name != UNCHANGED])
def test_every_protection_spares_the_others_what_the_burst_does_to_them(protection: str) -> None:
    scenario = small_scenario(
        tenants=[{"name": "tenant", "count": 8}],
        engine={"max_num_seqs": 4, "max_model_len": 1024},
        workload={
            "rate_rps": 2.0,
            "duration_s": 60.0,
            "prompt_tokens": {"fixed": 100},
            "output_tokens": {"fixed": 50},
        },
    )

    def ratio(name: str) -> float:
        return float(harm(noisy(scenario, LOUD, 400, name), LOUD, 1).of("all")["ratio"].iloc[0])

    assert ratio(UNCHANGED) > 2 * ratio(protection)


def test_what_cannot_be_is_told_in_a_sentence() -> None:
    scenario = lasting(duration_s=100.0)
    with pytest.raises(UserError, match=r'no tenant "tenant-0009"'):
        noisy(scenario, "tenant-0009", 5)
    with pytest.raises(
        UserError, match=r"protection: no protection \"tokens\"; did you mean token"
    ):
        protected(scenario, "tokens")
    replay = small_scenario(workload={"trace": "some.parquet"})
    assert independent(replay) is replay
    with pytest.raises(UserError, match=r"workload\.trace: a trace has its own bursts"):
        noisy(replay, LOUD, 5)
    silent = small_scenario(
        tenants=[{"name": "tenant", "rate_rps_each": 0.0}], workload={"max_requests": 9}
    )
    with pytest.raises(UserError, match="rate_rps_each: is 0 in every group"):
        noisy(silent, "tenant-0000", 5)
