"""The requests for adapters that a cache on its own is to serve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simlora.planning.reloads import reload_seconds
from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.workload.traffic import open_traffic

MOST_ACCESSES = 200_000
GB = 1e9

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a cache on its own is asked for, in the order of arrival, and what it knows of each
    adapter: the arrays but the first two are by adapter.

    `nbytes` is what an adapter takes of GPU memory; its reload is in seconds; a weight is infinite
    if the adapter may never leave. `by_count`: the cache is bounded by the number of adapters, and
    not by their bytes; `slots`: it has a fixed part of the memory. `place_bytes` is the mean size
    of an adapter.
    """

    adapter: Indexes
    arrival_s: Floats
    nbytes: Indexes
    reload_s: Floats
    weight: Floats
    by_count: bool
    slots: bool
    place_bytes: float
    cut: bool = False  # there would have been more

    @property
    def used(self) -> int:
        """How many adapters are asked for."""
        return len(np.unique(self.adapter))


def most_hot(scenario: Scenario) -> int | None:
    """How many adapters a replica's GPU memory may hold; None without such a bound."""
    if scenario.engine.memory.mode == "slots":
        return scenario.engine.memory.max_loras
    return scenario.adapters.hot.max_adapters


def places_of(scenario: Scenario, place_bytes: float) -> int | None:
    """The same for a bound in bytes too, in places of `place_bytes`."""
    most, capacity_gb = most_hot(scenario), scenario.adapters.hot.capacity_gb
    if capacity_gb is None:
        return most
    places = max(int(capacity_gb * GB / place_bytes), 1)
    return places if most is None else min(most, places)


def stream_of(deployment: Deployment, most: int = MOST_ACCESSES) -> Stream:
    """The first `most` requests for adapters that the fleet's first pool may serve, as a cache
    there sees them."""
    served = np.array([adapter.index for adapter in deployment.served_by(0)], dtype=np.int64)
    blocks, missing = [], most + 1
    for block in open_traffic(deployment).blocks():
        asked = np.flatnonzero(np.isin(block.adapter, served))[:missing]
        blocks.append((block.adapter[asked].astype(np.int64), block.arrival_s[asked]))
        missing -= len(asked)
        if not missing:
            break
    adapter = np.concatenate([asked for asked, _ in blocks] or [np.zeros(0, np.int64)])
    arrival_s = np.concatenate([times for _, times in blocks] or [np.zeros(0)])
    scenario, plan = deployment.scenario, plan_memory(deployment, 0)
    pinned_tiers = scenario.adapters.hot.pinned_tiers
    tiers = [deployment.tenants[each.tenant].tier for each in deployment.adapters]
    nbytes = np.array(
        [plan.adapter_pages(each.parameters) * plan.page_bytes for each in deployment.adapters],
        dtype=np.int64,
    )
    if not plan.unified:
        assert plan.max_hot_adapters is not None
        nbytes[:] = plan.slot_bytes // plan.max_hot_adapters
    return Stream(
        adapter=adapter[:most],
        arrival_s=arrival_s[:most],
        nbytes=nbytes,
        reload_s=reload_seconds(deployment),
        weight=np.array(
            [
                math.inf
                if deployment.tier_names[tier] in pinned_tiers
                else deployment.tiers[tier].weight
                for tier in tiers
            ]
        ),
        by_count=most_hot(scenario) is not None,
        slots=not plan.unified,
        place_bytes=float(nbytes[served].mean()) if len(served) else 0.0,
        cut=len(adapter) > most,
    )
