"""The requests of a traffic, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from simlora.scenario.deployment import Deployment
from simlora.serving.request import Request
from simlora.workload.blocks import Traffic


def requests_of(deployment: Deployment, traffic: Traffic) -> Iterator[Request]:
    """In order of arrival, numbered from 0."""
    tiers = [tenant.tier for tenant in deployment.tenants]
    index = 0
    for block in traffic.blocks():
        hashes = block.prefix_hashes if block.prefix_hashes is not None else repeat(None)
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
            tier = tiers[tenant]
            yield Request(
                index, arrival_s, tenant, tier, adapter, prompt, output, session, priority, prefix
            )
            index += 1


def adapters_of(deployment: Deployment, traffic: Traffic) -> set[int]:
    """The adapters that may be asked for: those of the traffic, and their next versions."""
    asked: set[int] = set()
    for block in traffic.blocks():
        asked.update(block.adapter.tolist())
    asked.discard(-1)
    return asked | {deployment.candidates[index] for index in asked & deployment.candidates.keys()}
