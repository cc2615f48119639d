"""The requests of a traffic, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat

from simlora.scenario.deployment import Deployment
from simlora.serving.request import Request
from simlora.workload.blocks import RequestBlock, Traffic


def tenant_tiers(deployment: Deployment) -> list[int]:
    """The tier of each tenant."""
    return [tenant.tier for tenant in deployment.tenants]


def requests_in(block: RequestBlock, first: int, tier_of: Sequence[int]) -> Iterator[Request]:
    """The requests of a block, numbered from `first`; `tier_of` each tenant."""
    hashes = block.prefix_hashes if block.prefix_hashes is not None else repeat(None)
    index = first
    for arrival_s, tenant, adapter, prompt, output, session, priority, prefix in zip(
        block.arrival_s.tolist(),
        block.tenant.tolist(),
        block.adapter.tolist(),
        block.prompt_tokens.tolist(),
        block.output_tokens.tolist(),
        block.session.tolist(),
        block.priority.tolist(),
        hashes,
        strict=False,  # `hashes` may be endless
    ):
        tier = tier_of[tenant]
        yield Request(
            index, arrival_s, tenant, tier, adapter, prompt, output, session, priority, prefix
        )
        index += 1


def requests_of(deployment: Deployment, traffic: Traffic) -> Iterator[Request]:
    """All of them in order of arrival, numbered from 0."""
    tier_of, first = tenant_tiers(deployment), 0
    for block in traffic.blocks():
        yield from requests_in(block, first, tier_of)
        first += len(block.arrival_s)
