"""Routers: in turn, to the least loaded, or where the adapter is hot."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.serving.request import Request
from simlora.serving.routing import ROUTING, AdapterAffinity, LeastLoaded, RoundRobin
from simlora.serving.routing import likely_replica as likely
from tests.simulating import Ask, Finished, run, small_scenario
from tests.unit.serving.routing_fleet import fleet, numbered, real_replicas, request


def test_round_robin_takes_every_replica_in_turn() -> None:
    router = RoundRobin()
    assert [router.choose(request(0), fleet(9, 0, 0)) for _ in range(5)] == [0, 1, 2, 0, 1]


def test_round_robin_goes_on_in_turn_when_replicas_leave_and_come_back() -> None:
    router, all_four, without_two = RoundRobin(), numbered(0, 1, 2, 3), numbered(0, 1, 3)
    assert [router.choose(request(0), all_four) for _ in range(2)] == [0, 1]
    assert [without_two[router.choose(request(0), without_two)].number for _ in range(3)] == [
        3,
        0,
        1,
    ]
    assert router.choose(request(0), all_four) == 2


def test_round_robin_foresees_the_next_and_does_not_take_its_turn() -> None:
    router, replicas = RoundRobin(), fleet(0, 0, 0)
    for turn in range(5):
        assert [likely(router, 7, replicas) for _ in range(2)] == [turn % 3] * 2
        assert router.choose(request(0), replicas) == turn % 3


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


def homes(router: AdapterAffinity, *numbers: int) -> list[int]:
    """The number of each adapter's replica among those."""
    replicas = numbered(*numbers)
    return [replicas[router.choose(request(a), replicas)].number for a in range(2000)]


def test_losing_a_replica_moves_its_own_adapters_only_and_spreads_them() -> None:
    router = AdapterAffinity()
    before, after = homes(router, 0, 1, 2, 3), homes(router, 0, 2, 3)
    moved = [new for old, new in zip(before, after, strict=True) if old == 1]
    assert [old for old, new in zip(before, after, strict=True) if old != new] == [1] * len(moved)
    assert all(count > len(moved) / 4 for count in Counter(moved).values())
    assert set(moved) == {0, 2, 3}
    assert homes(router, 0, 1, 2, 3) == before  # it is back


def test_homes_do_not_depend_on_the_order_in_which_replicas_are_listed() -> None:
    router = AdapterAffinity()
    assert homes(router, 3, 0, 2, 1) == homes(AdapterAffinity(), 0, 1, 2, 3)


def test_base_model_requests_have_no_home() -> None:
    router = AdapterAffinity()
    homes = {router.choose(request(-1, index), fleet(0, 0, 0)) for index in range(50)}
    assert homes == {0, 1, 2}


def compared(routing: str, scenario: dict[str, Any], asks: list[Ask]) -> Finished:
    return run(small_scenario(gateway={"routing": routing}, **scenario), asks)


def loads_of(finished: Finished) -> int:
    return sum(scheduler.tiers.stats.loads for scheduler in finished.schedulers)


def test_affinity_loads_an_adapter_on_one_replica_where_round_robin_loads_it_on_all() -> None:
    scenario = {
        "fleet": [{"gpu": "mini", "replicas": 3}],
        "tenants": [{"name": "tenant", "count": 5}],
    }
    asks = [Ask(float(i), adapter=i % 5) for i in range(60)]
    loads = {
        routing: loads_of(compared(routing, scenario, asks))
        for routing in ("adapter_affinity", "score", "round_robin")
    }
    assert loads == {"adapter_affinity": 5, "score": 5, "round_robin": 15}


def test_where_adapters_compete_affinity_and_score_load_less_than_half_of_the_others() -> None:
    """24 adapters, four replicas with room for eight each: together they could hold all of them."""
    rng = np.random.default_rng(7)
    scenario = {
        "fleet": [{"gpu": "mini", "replicas": 4}],
        "tenants": [{"name": "tenant", "count": 24}],
        "adapters": {"hot": {"max_adapters": 8}, "initial_tier": "warm"},
    }
    asks = [
        Ask(float(at_s), adapter=int(adapter), prompt_tokens=100, output_tokens=50)
        for at_s, adapter in zip(
            np.cumsum(rng.exponential(0.05, 1500)), rng.integers(0, 24, 1500), strict=True
        )
    ]
    loads = {}
    for routing in ROUTING.names():
        finished = compared(routing, scenario, asks)
        assert {request.replica for request in finished.requests} == {0, 1, 2, 3}
        loads[routing] = loads_of(finished)
    for frugal in ("adapter_affinity", "score"):
        for other in ("round_robin", "least_loaded", "power_of_two"):
            assert loads[frugal] < loads[other] / 2, loads


class Last:
    """A user's own."""

    def choose(self, request: Request, replicas: Any) -> int:
        return len(replicas) - 1


def test_a_users_own_router_is_taken_by_its_dotted_path() -> None:
    finished = compared(
        f"{__name__}:Last", {"fleet": [{"gpu": "mini", "replicas": 3}]}, [Ask(0.0), Ask(1.0)]
    )
    assert [request.replica for request in finished.requests] == [2, 2]


def test_prefetches_go_to_the_least_loaded_where_a_router_foresees_nothing() -> None:
    assert likely(Last(), 0, fleet(3, 1, 2)) == 1


@pytest.mark.parametrize("name", ROUTING.names())
def test_no_router_has_a_choice_with_one_replica(name: str) -> None:
    router, lonely = ROUTING.make(name), real_replicas(1)
    assert {router.choose(request(a, a, session=a), lonely) for a in range(-1, 4)} == {0}
