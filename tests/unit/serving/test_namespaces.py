"""Namespaces of cached prefixes: who finds what, and that routers look where admissions do."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.namespaces import SHARED, Namespaces, common_prefix
from simlora.serving.request import Request
from simlora.serving.routing.residency import cached_share
from simlora.serving.routing.score import Score
from tests.simulating import PREFIX_BLOCK_TOKENS, Ask, run, small_scenario

COMMON = common_prefix(2)
ISOLATIONS = ("adapter", "tenant", "selective", "shared")


def scenario(isolation: str, common_blocks: int = 2, **changes: Any) -> Scenario:
    """Tenants 0 and 1 with two adapters each, then one whose prompts are public, and another."""
    common_tokens = common_blocks * PREFIX_BLOCK_TOKENS + 5  # part of a block is nobody's
    return small_scenario(
        tenants=[
            {"name": "firm", "count": 2, "adapters": 2},
            {"name": "demo", "count": 2, "prompt_class": "public"},
        ],
        engine={"max_model_len": 1024, "prefix_cache": {"isolation": isolation}},
        workload={
            "rate_rps": 1.0,
            "arrivals": {"sessions": {"common_prefix_tokens": common_tokens}},
        },
        **changes,
    )


def asked(hashes: list[int], tenant: int = 0, adapter: int = 0) -> Request:
    return Request(0, 0.0, tenant, 0, adapter, 160, 1, prefix_hashes=hashes)


def spaces(isolation: str, common_blocks: int = 2) -> Namespaces:
    return Namespaces(expand(scenario(isolation, common_blocks)), PREFIX_BLOCK_TOKENS)


def found(isolation: str, *asks: tuple[int, int, tuple[int, ...]]) -> list[int]:
    """Tokens that each request (tenant, adapter, hashes) finds, one after the other."""
    story = [
        Ask(float(at), adapter, prompt_tokens=64, hashes=hashes, tenant=tenant)
        for at, (tenant, adapter, hashes) in enumerate(asks)
    ]
    return [request.cached_tokens for request in run(scenario(isolation), story).requests]


def test_public_are_the_leading_blocks_that_are_the_platforms_prompt() -> None:
    selective = spaces("selective")
    assert selective.public_blocks(asked([*COMMON, 7, 8])) == 2
    assert selective.public_blocks(asked(COMMON[:1])) == 1
    assert selective.public_blocks(asked([COMMON[0], 7, 8])) == 1
    assert selective.public_blocks(asked([7, *COMMON])) == 0
    assert selective.public_blocks(asked([])) == 0
    assert spaces("selective", common_blocks=0).public_blocks(asked([*COMMON, 7])) == 0


@pytest.mark.parametrize("isolation", ["adapter", "tenant", "shared"])
def test_only_selective_isolation_knows_public_blocks(isolation: str) -> None:
    assert spaces(isolation).public_blocks(asked([*COMMON, 7])) == 0


@pytest.mark.parametrize("isolation", ["adapter", "tenant", "selective"])
def test_private_namespaces_of_two_tenants_differ_from_each_other_and_from_the_shared_one(
    isolation: str,
) -> None:
    names = spaces(isolation)
    by_tenant = {
        tenant: {names.of(asked([1], tenant, adapter), adapter) for adapter in (*own, -1)}
        for tenant, own in ((0, (0, 1)), (1, (2, 3)))
    }
    assert not by_tenant[0] & by_tenant[1]
    assert SHARED not in by_tenant[0] | by_tenant[1]
    assert len(by_tenant[0]) == (1 if isolation == "tenant" else 3)


def test_public_tenants_live_in_the_shared_namespace_under_selective_alone() -> None:
    for isolation in ISOLATIONS:
        public = spaces(isolation).of(asked([1], tenant=2, adapter=4), 4)
        assert (public == SHARED) == (isolation in ("selective", "shared"))


@pytest.mark.parametrize(
    ("isolation", "other_adapter", "other_tenant"),
    [("adapter", 0, 0), ("tenant", 48, 0), ("selective", 32, 32), ("shared", 48, 48)],
)
def test_what_a_second_request_finds_of_an_equal_prompt(
    isolation: str, other_adapter: int, other_tenant: int
) -> None:
    """Two blocks of four are the platform's; one token is always left to compute."""
    hashes = (*COMMON, 7, 8)
    told = found(isolation, (0, 0, hashes), (0, 1, hashes), (1, 2, hashes))
    assert told[:2] == [0, other_adapter]
    assert found(isolation, (0, 0, hashes), (1, 2, hashes))[1] == other_tenant
    assert found(isolation, (0, 0, hashes), (0, 0, hashes))[1] == 48


def test_private_blocks_are_cached_behind_public_ones_that_somebody_else_computed() -> None:
    hashes = (*COMMON, 7, 8)
    told = found("selective", (1, 2, (*COMMON, 1, 2)), (0, 0, hashes), (0, 0, hashes))
    assert told == [0, 32, 48]


def test_public_tenants_share_all_of_their_prompts_and_private_ones_see_none_of_it() -> None:
    hashes = (1, 2, 3, 4)
    told = found("selective", (2, 4, hashes), (3, 5, hashes), (0, 0, hashes))
    assert told == [0, 48, 0]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_routers_find_what_an_admission_would_find(isolation: str) -> None:
    first = Ask(0.0, 0, prompt_tokens=64, hashes=(*COMMON, 7, 8))
    finished = run(scenario(isolation), [first])
    replica = finished.schedulers[0]
    for tenant, adapter in ((0, 0), (0, 1), (1, 2), (2, 4)):
        request = asked([*COMMON, 7, 8], tenant, adapter)
        second = Ask(9.0, adapter, prompt_tokens=160, hashes=(*COMMON, 7, 8), tenant=tenant)
        admitted = run(scenario(isolation), [first, second]).requests[1]
        assert replica.memory.cached_prefix_tokens(request) == admitted.cached_tokens
        assert cached_share(request, replica) == admitted.cached_tokens / 160


def test_a_router_sends_a_prompt_to_the_replica_that_has_the_platforms_prompt() -> None:
    two = scenario("selective", fleet=[{"gpu": "mini", "replicas": 2}])
    finished = run(two, [Ask(0.0, 0, prompt_tokens=64, hashes=(*COMMON, 7, 8))])
    holder = finished.schedulers[finished.requests[0].replica]
    request = asked([*COMMON, 1, 2], tenant=1, adapter=-1)
    for replicas in (finished.schedulers, finished.schedulers[::-1]):
        assert replicas[Score().choose(request, replicas)] is holder
