"""A scenario expands to tenants, adapters, tiers and priced GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.checks import tenant_exists
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario


def scenario(**changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": "test",
        "model": "llama-3.1-8b",
        "fleet": [{"gpu": "h100-80gb"}],
        "tenants": [
            {"name": "pro", "count": 2, "tier": "platinum", "adapter": {"rank": 32}},
            {"name": "lab", "tier": "trial", "adapters": 3, "adapter": {"targets": "qv"}},
            {"name": "plain", "adapters": 0},
        ],
        "workload": {"rate_rps": 3},
        "tiers": {"gold": {"weight": 5}, "platinum": {"weight": 10}, "trial": {}},
    }
    return Scenario.model_validate(fields | changes)


def test_a_group_expands_to_numbered_tenants() -> None:
    deployment = expand(scenario())
    assert [t.name for t in deployment.tenants] == [
        "pro-0000",
        "pro-0001",
        "lab-0000",
        "plain-0000",
    ]
    assert [t.index for t in deployment.tenants] == [0, 1, 2, 3]
    assert deployment.tenant_index["lab-0000"] == 2
    assert [t.group for t in deployment.tenants] == [0, 0, 1, 2]


def test_a_tenants_only_adapter_bears_its_name_and_several_are_numbered() -> None:
    deployment = expand(scenario())
    assert [a.name for a in deployment.adapters] == [
        "pro-0000",
        "pro-0001",
        "lab-0000/0",
        "lab-0000/1",
        "lab-0000/2",
    ]
    assert [list(t.adapters) for t in deployment.tenants] == [[0], [1], [2, 3, 4], []]
    for name, index in deployment.adapter_index.items():
        adapter = deployment.adapters[index]
        assert (adapter.name, adapter.index) == (name, index)
        assert index in deployment.tenants[adapter.tenant].adapters


def test_adapter_sizes_follow_rank_and_targets() -> None:
    deployment = expand(scenario())
    assert deployment.adapters[0].nbytes == 32 * 5 * 2**20
    assert deployment.adapters[2].rank == 16
    assert deployment.adapters[2].nbytes == 2 * deployment.adapters[2].parameters
    assert deployment.adapters[2].parameters == deployment.model.lora_parameters(16, "qv")


def test_tiers_come_in_the_order_they_are_first_named() -> None:
    deployment = expand(scenario())
    assert deployment.tier_names == ("gold", "platinum", "trial", "standard")
    assert [tier.weight for tier in deployment.tiers] == [5, 10, 1, 1]
    assert [deployment.tier_names[t.tier] for t in deployment.tenants] == [
        "platinum",
        "platinum",
        "trial",
        "standard",
    ]


def test_a_pool_may_have_its_own_price() -> None:
    fleet = [{"gpu": "h100-80gb"}, {"gpu": "h100-80gb", "usd_per_gpu_hour": 1.5}]
    gpus = expand(scenario(fleet=fleet)).gpus
    assert [gpu.usd_per_hour for gpu in gpus] == [4.0, 1.5]


@pytest.mark.parametrize(
    ("name", "exists"),
    [("pro-0001", True), ("pro-0002", False), ("pro-1", False), ("pro", False), ("lab-²", False)],
)
def test_tenant_names_are_known_without_expanding(name: str, exists: bool) -> None:
    assert tenant_exists(scenario(), name) is exists
    assert (name in expand(scenario()).tenant_index) is exists


def test_with_slots_the_servers_limits_are_checked() -> None:
    slots = {"mode": "slots", "max_loras": 4, "max_lora_rank": 32}
    assert expand(scenario(engine={"memory": slots, "max_cpu_loras": 4})).adapters


def test_ten_thousand_tenants_expand() -> None:
    deployment = expand(scenario(tenants=[{"name": "t", "count": 10_001}]))
    assert deployment.tenants[-1].name == "t-10000"
    assert len(deployment.adapter_index) == 10_001


def test_the_only_tenant_of_a_group_is_also_known_by_the_groups_name() -> None:
    deployment = expand(scenario())
    assert deployment.tenant_index["plain"] == deployment.tenant_index["plain-0000"]
    assert "pro" not in deployment.tenant_index  # two tenants
    acme = expand(scenario(tenants=[{"name": "acme"}], tiers={}))
    assert acme.adapter_index["acme"] == acme.adapter_index["acme-0000"] == 0
