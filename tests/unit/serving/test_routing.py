"""Routers: in turn, to the least loaded, or where the adapter is hot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simlora.serving.request import Request
from simlora.serving.routing import AdapterAffinity, LeastLoaded, RoundRobin
from tests.simulating import Ask, run, small_scenario


@dataclass
class Replica:
    """All that a router asks of a replica."""

    outstanding: int = 0


def fleet(*outstanding: int) -> Any:
    return [Replica(count) for count in outstanding]


def request(adapter: int, index: int = 0) -> Request:
    return Request(index, 0.0, 0, 0, adapter, 10, 10)


def test_round_robin_takes_every_replica_in_turn() -> None:
    router = RoundRobin()
    assert [router.choose(request(0), fleet(9, 0, 0)) for _ in range(5)] == [0, 1, 2, 0, 1]


def test_the_least_loaded_is_chosen_and_of_equals_the_first() -> None:
    assert LeastLoaded().choose(request(0), fleet(3, 1, 2)) == 1
    assert LeastLoaded().choose(request(0), fleet(2, 1, 1)) == 1


def test_an_adapter_stays_where_it_is_while_the_load_is_even() -> None:
    router = AdapterAffinity()
    for adapter in range(50):
        home = router.choose(request(adapter), fleet(0, 0, 0, 0))
        for load in (1, 5, 100):
            assert router.choose(request(adapter), fleet(load, load, load, load)) == home


def test_adapters_spread_over_the_replicas() -> None:
    router = AdapterAffinity()
    homes = Counter(router.choose(request(adapter), fleet(0, 0, 0, 0)) for adapter in range(4000))
    assert all(900 < homes[replica] < 1100 for replica in range(4))


def test_a_loaded_home_spills_to_the_adapters_next_replica_and_only_there() -> None:
    router = AdapterAffinity(bound=1.25)
    home = router.choose(request(7), fleet(0, 0, 0))
    busy = fleet(10, 10, 10)
    busy[home].outstanding = 20
    spill = router.choose(request(7), busy)
    assert spill != home
    assert {router.choose(request(7), busy) for _ in range(10)} == {spill}
    busy[home].outstanding = 10
    assert router.choose(request(7), busy) == home


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12), st.integers(0, 10**6))
def test_no_replica_is_given_more_than_the_bound_allows(loads: list[int], adapter: int) -> None:
    bound = 1.25
    chosen = AdapterAffinity(bound).choose(request(adapter), fleet(*loads))
    assert loads[chosen] < bound * (sum(loads) + 1) / len(loads)


def test_one_replica_more_moves_few_adapters_and_those_only_to_it() -> None:
    before = [AdapterAffinity().choose(request(a), fleet(0, 0, 0, 0)) for a in range(2000)]
    after = [AdapterAffinity().choose(request(a), fleet(0, 0, 0, 0, 0)) for a in range(2000)]
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {4}
    assert 300 < len(moved) < 500  # a fifth


def test_base_model_requests_have_no_home() -> None:
    router = AdapterAffinity()
    homes = {router.choose(request(-1, index), fleet(0, 0, 0)) for index in range(50)}
    assert homes == {0, 1, 2}


def test_affinity_loads_an_adapter_on_one_replica_where_round_robin_loads_it_on_all() -> None:
    loads = {}
    for routing in ("adapter_affinity", "round_robin"):
        scenario = small_scenario(
            fleet=[{"gpu": "mini", "replicas": 3}],
            tenants=[{"name": "tenant", "count": 5}],
            gateway={"routing": routing},
        )
        finished = run(scenario, [Ask(float(i), adapter=i % 5) for i in range(60)])
        loads[routing] = sum(s.tiers.stats.loads for s in finished.schedulers)
    assert loads == {"adapter_affinity": 5, "round_robin": 15}
