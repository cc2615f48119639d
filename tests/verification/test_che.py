"""The hot tier is an LRU cache: hit ratios match a textbook LRU exactly, and Che's approximation.

H. Che, Y. Tung, Z. Wang, "Hierarchical Web caching systems", IEEE JSAC 20 (2002): under independent
references with popularities p, an LRU cache of C entries hits item i with 1 - exp(-p_i T), where T
solves sum_i (1 - exp(-p_i T)) = C.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import SOURCE_HOT
from simlora.workload import open_traffic
from tests.simulating import Finished, run, small_scenario

ADAPTERS = 400
REQUESTS = 60_000
WARMUP = 6_000  # requests until the cache is full


def che_hit_ratio(shares: Any, capacity: int) -> float:
    def excess(horizon: float) -> float:
        return float(-np.expm1(-shares * horizon).sum() - capacity)

    horizon = brentq(excess, 0.0, 1e9)
    return float(shares @ -np.expm1(-shares * horizon))


def lru_hits(references: list[int], capacity: int) -> list[bool]:
    cache: OrderedDict[int, None] = OrderedDict()
    hits = []
    for reference in references:
        hits.append(reference in cache)
        cache[reference] = None
        cache.move_to_end(reference)
        if len(cache) > capacity:
            cache.popitem(last=False)
    return hits


def one_at_a_time(zipf: float, **fields: Any) -> Scenario:
    """Requests so short and so far apart that each is done before the next one comes."""
    return small_scenario(
        tenants=[{"name": "tenant", "count": ADAPTERS, "adapter": {"rank": 4}}],
        workload={
            "rate_rps": 1.0,
            "arrivals": "constant",
            "max_requests": REQUESTS,
            "popularity": {"zipf": zipf},
            "prompt_tokens": {"fixed": 1},
            "output_tokens": {"fixed": 1},
        },
        **fields,
    )


def replay(scenario: Scenario) -> Finished:
    return run(scenario, open_traffic(expand(scenario)), sample_interval_s=65_536.0)


@pytest.mark.parametrize(("zipf", "capacity"), [(1.0, 8), (1.0, 40), (1.0, 200), (0.7, 40)])
def test_hot_hits_under_zipf_popularity_are_what_che_says(zipf: float, capacity: int) -> None:
    hot = {"hot": {"max_adapters": capacity}, "initial_tier": "warm"}
    finished = replay(one_at_a_time(zipf, adapters=hot))
    hits = [request.adapter_source == SOURCE_HOT for request in finished.requests]
    assert hits == lru_hits([request.adapter for request in finished.requests], capacity)
    shares = np.arange(1, ADAPTERS + 1) ** -zipf
    expected = che_hit_ratio(shares / shares.sum(), capacity)
    assert np.mean(hits[WARMUP:]) == pytest.approx(expected, abs=0.01)


def test_slots_are_an_lru_cache_too() -> None:
    memory = {"mode": "slots", "max_loras": 40, "max_lora_rank": 8}
    finished = replay(
        one_at_a_time(
            1.0,
            engine={"memory": memory, "max_model_len": 1024},
            adapters={"initial_tier": "warm"},
        )
    )
    hits = [request.adapter_source == SOURCE_HOT for request in finished.requests]
    assert hits == lru_hits([request.adapter for request in finished.requests], 40)


def test_host_memory_is_an_lru_cache_behind_the_gpu() -> None:
    """With the bound on the GPU at one adapter, host memory of 20 sees nearly every reference."""
    finished = replay(
        one_at_a_time(
            1.0,
            engine={"max_cpu_loras": 20, "max_model_len": 1024},
            adapters={"hot": {"max_adapters": 1}, "initial_tier": "store"},
        )
    )
    near = [request.adapter_source in (1, 2) for request in finished.requests]
    assert near == lru_hits([request.adapter for request in finished.requests], 20)
