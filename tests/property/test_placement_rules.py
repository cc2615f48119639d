"""No placement ever breaks residency, dedication or the model of an adapter, in any fleet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.placement import Placement
from simlora.workload.demand import tenant_demand
from tests.placing import MODELS, mixed_scenario

REGIONS = ("eu", "us", "asia")
GROUPS = ("a", "b", "c")

pools = st.fixed_dictionaries(
    {
        "replicas": st.integers(1, 4),
        "region": st.sampled_from(REGIONS),
        "model": st.sampled_from(MODELS),
        "tenants": st.lists(st.sampled_from(GROUPS), max_size=1),
    }
)


@st.composite
def groups(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "count": draw(st.integers(1, 4)),
            "adapters": draw(st.integers(0, 2)),
            "model": draw(st.sampled_from(MODELS)),
            "regions": draw(st.lists(st.sampled_from(REGIONS), unique=True, max_size=3)),
            "profile": draw(st.sampled_from([None, "short", "long"])),
        }
        for name in GROUPS
    ]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    return mixed_scenario(
        draw(st.lists(pools, min_size=1, max_size=6)),
        draw(groups()),
        gateway={"placement": draw(st.sampled_from(["shared", "bin_packed"]))},
        seed=draw(st.integers(0, 3)),
    )


def may_serve(scenario: Scenario, group_index: int, pool_index: int) -> bool:
    """The rules, told once more."""
    group, pool = scenario.tenants[group_index], scenario.fleet[pool_index]
    assert pool.model is not None
    dedicated = any(group.name in other.tenants for other in scenario.fleet)
    if dedicated and group.name not in pool.tenants:
        return False
    if pool.tenants and group.name not in pool.tenants:
        return False
    if group.regions and pool.region not in group.regions:
        return False
    return pool.model.name == group.model


def everybody(deployment: Deployment) -> Iterator[tuple[int, int, int]]:
    """Tenant, its group, and each adapter that it may ask for."""
    for tenant in deployment.tenants:
        for adapter in [-1, *tenant.adapters]:
            yield tenant.index, tenant.group, adapter


@settings(max_examples=400)  # two of three are refused: somebody has no pool
@given(scenarios())
def test_every_choice_keeps_the_rules_and_every_replica_that_may_serve_is_one(
    scenario: Scenario,
) -> None:
    fleet, all_groups = range(len(scenario.fleet)), range(len(scenario.tenants))
    servable = all(any(may_serve(scenario, g, p) for p in fleet) for g in all_groups)
    known = {pool.region for pool in scenario.fleet}
    if not servable or not all(known.issuperset(group.regions) for group in scenario.tenants):
        with pytest.raises(UserError, match=r"no pool (may serve|serves|is in)"):
            expand(scenario)
        return
    deployment = expand(scenario)
    placement = Placement(deployment, tenant_demand(deployment))
    pool_of = [p for p in fleet for _ in range(scenario.fleet[p].replicas)]
    for tenant, group, adapter in everybody(deployment):
        choices = placement.choices(tenant, adapter)
        assert all(choices)
        chosen = [replica for part in choices for replica in part]
        allowed = [r for r, pool in enumerate(pool_of) if may_serve(scenario, group, pool)]
        assert sorted(chosen) == allowed
        _check_order(scenario, placement, tenant, group, chosen)


def _check_order(
    scenario: Scenario, placement: Placement, tenant: int, group: int, chosen: list[int]
) -> None:
    """Near replicas come first, and only those abroad are behind a network."""
    regions = [placement.region_of(replica) for replica in chosen]
    allowed = scenario.tenants[group].regions
    home = allowed[0] if allowed else scenario.fleet[placement.pool_of(min(chosen))].region
    if allowed:
        assert regions == sorted(regions, key=allowed.index)
    else:
        assert regions[: regions.count(home)] == [home] * regions.count(home)
    for replica, region in zip(chosen, regions, strict=True):
        assert (placement.delay_s(tenant, replica) == 0) == (region == home)


@settings(max_examples=400)  # two of three are refused: somebody has no pool
@given(scenarios())
def test_profiles_share_a_replica_only_where_there_are_fewer_replicas_than_profiles(
    scenario: Scenario,
) -> None:
    packed = scenario.model_copy(
        update={"gateway": scenario.gateway.model_copy(update={"placement": "bin_packed"})}
    )
    try:
        deployment = expand(packed)
    except UserError:
        return
    placement = Placement(deployment, tenant_demand(deployment))
    at_work: dict[int, set[str]] = {}  # profiles by replica
    together: dict[tuple[str, str], set[str]] = {}  # profiles by model and region
    for tenant, group, adapter in everybody(deployment):
        asked = packed.tenants[group]
        if any(asked.name in pool.tenants for pool in packed.fleet):
            continue
        for replica in placement.choices(tenant, adapter)[0]:
            profile = asked.profile or asked.name
            at_work.setdefault(replica, set()).add(profile)
            together.setdefault(_cell(packed, placement, replica), set()).add(profile)
    for replica, profiles in at_work.items():
        cell = _cell(packed, placement, replica)
        replicas = sum(
            pool.replicas
            for pool in packed.fleet
            if pool.model is not None
            and (pool.model.name, pool.region) == cell
            and not pool.tenants
        )
        assert len(profiles) == 1 or replicas < len(together[cell])


def _cell(scenario: Scenario, placement: Placement, replica: int) -> tuple[str, str]:
    pool = scenario.fleet[placement.pool_of(replica)]
    assert pool.model is not None
    return pool.model.name, pool.region
