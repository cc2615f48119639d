"""In a run over several models and regions every request is served where it may be."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.serving.placement import Placement
from simlora.workload.demand import tenant_demand
from simlora.workload.traffic import open_traffic
from tests.placing import Entries, mixed_scenario
from tests.simulating import run

FLEET: Entries = [
    {"replicas": 2, "region": "eu"},
    {"replicas": 2, "region": "us"},
    {"model": "wide", "region": "us"},
    {"region": "eu", "tenants": ["vip"]},
]
GROUPS: Entries = [
    {"name": "bank", "count": 3, "regions": ["eu"]},
    {"name": "app", "count": 5, "regions": ["us", "eu"]},
    {"name": "code", "count": 2, "model": "wide"},
    {"name": "vip", "adapters": 2},
]


@pytest.mark.parametrize("placement", ["shared", "bin_packed"])
@pytest.mark.parametrize("routing", ["least_loaded", "adapter_affinity"])
def test_requests_go_to_the_first_group_of_their_choices(placement: str, routing: str) -> None:
    workload: dict[str, Any] = {"rate_rps": 40.0, "duration_s": 10.0, "popularity": "uniform"}
    workload |= {"prompt_tokens": {"fixed": 100}, "output_tokens": {"fixed": 20}}
    gateway = {"placement": placement, "routing": routing}
    scenario = mixed_scenario(FLEET, GROUPS, workload=workload, gateway=gateway)
    deployment = expand(scenario)
    expected = Placement(deployment, tenant_demand(deployment))
    done = run(scenario, open_traffic(deployment)).requests
    assert len(done) > 300
    assert {deployment.tenants[request.tenant].group for request in done} == {0, 1, 2, 3}
    for request in done:
        assert request.replica in expected.choices(request.tenant, request.adapter)[0]


def test_a_request_that_is_served_abroad_takes_the_network_time_too() -> None:
    fleet: Entries = [{"region": "us"}, {"region": "eu", "tenants": ["other"]}]
    groups: Entries = [{"name": "a", "regions": ["eu", "us"]}, {"name": "other"}]
    ttft_s: list[Any] = []
    for cross_region_s in (0.0, 0.25):
        workload = {"rate_rps": 0.2, "duration_s": 100.0}
        gateway = {"cross_region_s": cross_region_s}
        scenario = mixed_scenario(fleet, groups, workload=workload, gateway=gateway)
        done = run(scenario, open_traffic(expand(scenario))).requests
        ttft_s.append({r.index: r.first_token_s - r.arrival_s for r in done if r.tenant == 0})
    near, far = ttft_s
    assert near
    assert far == pytest.approx({index: time_s + 0.25 for index, time_s in near.items()})
