"""What a scenario may ask of fairness, and what a wrong wish is answered."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Fairness
from simlora.serving.fairness import DISCIPLINES, FlowTable, OrderedQueue, make_discipline
from simlora.serving.fairness.vtc import VTC
from simlora.serving.request import Request
from tests.simulating import small_scenario


def deployment() -> Deployment:
    return expand(
        small_scenario(
            tiers={"gold": {"weight": 10.0}, "silver": {"weight": 3.0}, "free": {}},
            tenants=[
                {"name": "a", "count": 2, "tier": "gold"},
                {"name": "b", "tier": "silver"},
                {"name": "c", "count": 2, "tier": "free"},
            ],
        )
    )


def test_flows_are_tenants_or_tiers_with_the_weight_of_the_tier() -> None:
    by_tenant = FlowTable.of(deployment(), Fairness())
    assert by_tenant.flow_of_tenant == (0, 1, 2, 3, 4)
    assert by_tenant.tier_of_flow == (0, 0, 1, 2, 2)
    assert by_tenant.weights == (10.0, 10.0, 3.0, 1.0, 1.0)
    by_tier = FlowTable.of(deployment(), Fairness(by="tier"))
    assert by_tier.flow_of_tenant == (0, 0, 1, 2, 2)
    assert by_tier.tier_of_flow == (0, 1, 2)
    assert by_tier.weights == by_tier.tier_weights == (10.0, 3.0, 1.0)


def test_tiers_without_a_reserved_share_divide_the_rest_by_weight() -> None:
    table = FlowTable.of(deployment(), Fairness(reserved={"gold": 0.6}))
    assert table.shares == pytest.approx((0.6, 0.3, 0.1))


def test_disciplines_have_names_and_are_made_for_a_deployment() -> None:
    assert DISCIPLINES.names() == ["drr", "fcfs", "priority", "sjf", "vtc", "wfq"]
    assert isinstance(make_discipline(deployment(), Fairness()), OrderedQueue)
    for policy in DISCIPLINES.names():
        queue = make_discipline(deployment(), Fairness(policy=policy))
        request = Request(0, 0.0, 4, 2, -1, 10, 10)
        queue.push(request, 0.0)
        assert queue.pop(0.0) is request


class MineOwn(VTC):
    """What a user may bring."""


def test_a_scenario_may_bring_its_own_discipline() -> None:
    path = f"{MineOwn.__module__}:MineOwn"
    options = Fairness(policy=path, reserved={"gold": 0.5})
    queue = make_discipline(deployment(), options)
    assert type(queue).__name__ == "MineOwn"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"policy": "vct"},
            (
                "gateway.fairness.policy: unknown name 'vct'; did you mean 'vtc'? allowed are "
                "drr, fcfs, priority, sjf, vtc, wfq or a dotted path package.module:Class"
            ),
        ),
        (
            {"policy": "wfq", "reserved": {"bronze": 0.7}},
            "gateway.fairness.reserved: unknown tier 'bronze'; allowed are gold, silver, free",
        ),
        (
            {"policy": "vtc", "reserved": {"gold": 0.7, "silver": 0.3}},
            (
                "gateway.fairness.reserved: the fractions add up to 1, which leaves nothing for "
                "tier 'free'; allowed is less than 1, or a fraction for every tier"
            ),
        ),
        (
            {"policy": "drr", "reserved": {"gold": 0.7}},
            "gateway.fairness.reserved: drr cannot keep reserved shares; allowed are vtc and wfq",
        ),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_discipline(deployment(), Fairness(**options))
    assert str(caught.value) == message
