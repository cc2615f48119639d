"""What is known of the traffic before it comes: by a user's login, by the days before, or, for the
bound, all of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import Prefetch
from simlora.serving.eviction.belady import Future
from simlora.serving.replica_spec import NextUse
from simlora.workload.blocks import Traffic

BELADY = "belady"


def future_of(deployment: Deployment, traffic: Traffic) -> NextUse | None:
    """When each adapter is next asked for, if a policy of the scenario is to know; it takes a pass
    over the traffic, and memory for the times."""
    tiers = deployment.scenario.adapters
    policies = (tiers.hot.eviction, tiers.warm.eviction, tiers.nvme.eviction)
    if not any(name.partition("+")[0] == BELADY for name in policies):
        return None
    return Future(
        (adapter, arrival_s)
        for block in traffic.blocks()
        for adapter, arrival_s in zip(block.adapter.tolist(), block.arrival_s.tolist(), strict=True)
        if adapter >= 0
    ).next_use


def adapters_by_demand(deployment: Deployment, traffic: Traffic) -> list[int]:
    """The adapters, the most asked for in the whole of the traffic first; an operator knows them
    from the days before."""
    counts = np.zeros(len(deployment.adapters) + 1, dtype=np.int64)
    for block in traffic.blocks():
        counts += np.bincount(block.adapter + 1, minlength=len(counts))
    ranking: list[int] = np.argsort(-counts[1:], kind="stable").tolist()
    return ranking


def logins(config: Prefetch, traffic: Traffic) -> Iterator[tuple[float, int]]:
    """Time and adapter of each session's login, in the order of time: `login_lead_s` before its
    first request, at the start of the run for those that come sooner."""
    seen: set[int] = set()  # sessions
    last_s: dict[int, float] = {}  # by adapter, of requests without a session
    for block in traffic.blocks():
        for arrival_s, adapter, session in zip(
            block.arrival_s.tolist(), block.adapter.tolist(), block.session.tolist(), strict=True
        ):
            if adapter < 0:
                continue
            if session >= 0:
                begins = session not in seen
                seen.add(session)
            else:
                # What was before the run nobody knows: no login is made of it.
                begins = arrival_s - last_s.get(adapter, 0.0) >= config.session_gap_s
                last_s[adapter] = arrival_s
            if begins:
                yield max(0.0, arrival_s - config.login_lead_s), adapter
