"""Requests go where model, region and dedication allow, near ones first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simlora.scenario.deployment import expand
from simlora.serving.placement import Placement
from tests.placing import Entries, mixed_scenario, placement_of


def test_in_a_fleet_of_alike_pools_every_replica_serves_everybody() -> None:
    _, placement = placement_of(
        mixed_scenario([{"replicas": 2}, {"gpu": "l40s"}], [{"name": "a"}, {"name": "b"}])
    )
    assert placement.choices(0, 0) == placement.choices(1, -1) == ((0, 1, 2),)
    assert [placement.pool_of(replica) for replica in range(3)] == [0, 0, 1]
    assert placement.delay_s(0, 2) == 0


def test_a_request_goes_to_replicas_of_its_adapters_model_only() -> None:
    fleet: Entries = [{"replicas": 2}, {"model": "wide"}]
    _, placement = placement_of(
        mixed_scenario(fleet, [{"name": "a"}, {"name": "b", "model": "wide"}])
    )
    assert placement.choices(0, 0) == placement.choices(0, -1) == ((0, 1),)
    assert placement.choices(1, 1) == placement.choices(1, -1) == ((2,),)


def test_an_adapter_for_another_model_than_its_tenants_goes_to_that_models_replicas() -> None:
    deployment = expand(mixed_scenario([{"replicas": 2}, {"model": "wide"}], [{"name": "a"}]))
    other = replace(deployment, adapters=(replace(deployment.adapters[0], model="wide"),))
    placement = Placement(other)
    assert placement.choices(0, 0) == ((2,),)
    assert placement.choices(0, -1) == ((0, 1),)


def test_a_pool_with_another_quantization_of_the_model_serves_it_too() -> None:
    fleet: Entries = [{}, {"model": {"name": "tiny-llama", "weights": "fp8"}}]
    _, placement = placement_of(mixed_scenario(fleet, [{"name": "a"}]))
    assert placement.choices(0, 0) == ((0, 1),)


THREE_REGIONS: Entries = [{"region": "eu"}, {"region": "us"}, {"region": "asia"}, {"region": "eu"}]


def test_home_comes_first_and_then_the_further_regions_in_their_order() -> None:
    groups: Entries = [{"name": "a", "regions": ["us", "eu"]}, {"name": "b", "regions": ["asia"]}]
    _, placement = placement_of(mixed_scenario(THREE_REGIONS, groups))
    assert placement.choices(0, 0) == ((1,), (0, 3))
    assert placement.choices(1, 1) == ((2,),)


def test_without_residency_home_is_that_of_the_first_pool_and_all_others_follow_together() -> None:
    _, placement = placement_of(mixed_scenario(THREE_REGIONS, [{"name": "a"}]))
    assert placement.choices(0, 0) == ((0, 3), (1, 2))


def test_home_of_a_tenant_without_regions_is_where_the_first_pool_of_its_model_is() -> None:
    fleet: Entries = [{"region": "eu"}, {"region": "us", "model": "wide"}]
    groups: Entries = [{"name": "a"}, {"name": "b", "model": "wide"}]
    _, placement = placement_of(mixed_scenario(fleet, groups))
    assert placement.delay_s(0, 0) == placement.delay_s(1, 1) == 0


def test_the_network_takes_time_outside_the_home_region_only() -> None:
    groups: Entries = [{"name": "a", "regions": ["us", "eu"]}]
    gateway = {"cross_region_s": 0.25}
    _, placement = placement_of(mixed_scenario(THREE_REGIONS, groups, gateway=gateway))
    assert [placement.delay_s(0, replica) for replica in range(4)] == [0.25, 0, 0.25, 0.25]
    assert [placement.region_of(replica) for replica in range(4)] == ["eu", "us", "asia", "eu"]


def test_a_dedicated_pool_serves_its_groups_alone_and_they_are_served_by_it_alone() -> None:
    fleet: Entries = [{"replicas": 2}, {"replicas": 2, "tenants": ["vip"]}]
    _, placement = placement_of(mixed_scenario(fleet, [{"name": "vip"}, {"name": "rest"}]))
    assert placement.choices(0, 0) == ((2, 3),)
    assert placement.choices(1, 1) == ((0, 1),)


def packed(**changes: object) -> dict[str, object]:
    return {"gateway": {"placement": "bin_packed"}, **changes}


def test_bin_packing_keeps_profiles_apart() -> None:
    groups: Entries = [
        {"name": "chat", "count": 30},
        {"name": "docs", "count": 10, "prompt_tokens": {"fixed": 4000}},
    ]
    workload = {"rate_rps": 4.0, "popularity": "uniform", "prompt_tokens": {"fixed": 400}}
    deployment, placement = placement_of(
        mixed_scenario([{"replicas": 6}], groups, **packed(workload=workload))
    )
    of_group: list[set[int]] = [set(), set()]
    for tenant in deployment.tenants:
        first, others = placement.choices(tenant.index, tenant.adapters[0])
        of_group[tenant.group].update(first)
        assert sorted(first + others) == list(range(6))
    chat, docs = of_group
    assert not chat & docs
    # 30 x (400 + 2 x 192) tokens to 10 x (4,000 + 2 x 192): 35 % of the work.
    assert (len(chat), len(docs)) == (2, 4)


def test_groups_of_one_profile_share_its_replicas() -> None:
    groups: Entries = [{"name": name, "profile": "short"} for name in ("a", "b")] + [{"name": "c"}]
    deployment, placement = placement_of(
        mixed_scenario([{"replicas": 2}], groups, **packed(workload={"rate_rps": 1.0}))
    )
    firsts = [placement.choices(tenant.index, -1)[0] for tenant in deployment.tenants]
    assert firsts == [(0,), (0,), (1,)]


def test_a_tenant_larger_than_a_replicas_share_gets_several() -> None:
    groups: Entries = [
        {"name": "big", "rate_rps_each": 6.0, "profile": "one"},
        {"name": "small", "rate_rps_each": 1.0, "count": 2, "profile": "one"},
    ]
    _, placement = placement_of(mixed_scenario([{"replicas": 4}], groups, **packed(workload={})))
    big, small = placement.choices(0, 0)[0], [placement.choices(t, t)[0] for t in (1, 2)]
    assert len(big) == 3
    assert small == [(3,), (3,)]


def test_with_fewer_replicas_than_profiles_some_share_one() -> None:
    groups: Entries = [
        {"name": f"p{i}", "rate_rps_each": rate} for i, rate in enumerate((3.0, 1.0, 2.0))
    ]
    _, placement = placement_of(mixed_scenario([{"replicas": 2}], groups, **packed(workload={})))
    assert [placement.choices(t, t)[0] for t in range(3)] == [(0,), (1,), (1,)]


def test_tenants_are_packed_in_their_home_region_and_go_abroad_only_after_it() -> None:
    fleet: Entries = [{"replicas": 2, "region": "eu"}, {"replicas": 2, "region": "us"}]
    groups: Entries = [
        {"name": "a", "count": 2, "regions": ["us", "eu"]},
        {"name": "b", "count": 2, "regions": ["eu"]},
    ]
    workload = {"rate_rps": 1.0, "popularity": "uniform"}
    _, placement = placement_of(mixed_scenario(fleet, groups, **packed(workload=workload)))
    assert placement.choices(0, 0) == ((2,), (3,), (0, 1))
    assert placement.choices(1, 1) == ((3,), (2,), (0, 1))
    assert placement.choices(2, 2) == ((0,), (1,))
    assert placement.choices(3, 3) == ((1,), (0,))


def test_dedicated_pools_are_not_packed() -> None:
    fleet: Entries = [{"replicas": 2, "tenants": ["vip"]}, {"replicas": 2}]
    groups: Entries = [{"name": "vip", "count": 2}, {"name": "rest", "count": 2}]
    workload = {"rate_rps": 1.0, "popularity": "uniform"}
    _, placement = placement_of(mixed_scenario(fleet, groups, **packed(workload=workload)))
    assert placement.choices(0, 0) == placement.choices(1, 1) == ((0, 1),)
    assert placement.choices(2, 2) == ((2,), (3,))


def test_bin_packing_without_demands_is_refused() -> None:
    deployment = expand(mixed_scenario([{}], [{"name": "a", "count": 3}], **packed()))
    with pytest.raises(ValueError, match="a demand for each of 3 tenants is needed, not 0"):
        Placement(deployment)
