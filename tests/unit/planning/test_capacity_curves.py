"""Curves over capacity: of one cache on its own, and of a scenario's requests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.planning.adapter_stream import Stream, stream_of
from simlora.planning.capacity_curves import capacity_curves, curve
from simlora.planning.variants import Variant
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.eviction import EVICTION
from simlora.serving.eviction.replay import miss_ratio_curve
from simlora.workload.traffic import open_traffic
from tests.simulating import small_scenario

POLICY, PLACES = "adapters.hot.eviction", "adapters.hot.max_adapters"


def stream(keys: list[int], **changes: object) -> Stream:
    """Accesses a second apart to adapters of 10 bytes, each a second away."""
    adapters = max(keys) + 1
    told: dict[str, object] = {
        "adapter": np.array(keys),
        "arrival_s": np.arange(len(keys), dtype=float),
        "nbytes": np.full(adapters, 10),
        "reload_s": np.ones(adapters),
        "weight": np.ones(adapters),
        "by_count": True,
        "slots": False,
        "place_bytes": 10.0,
    }
    return Stream(**(told | changes))  # type: ignore[arg-type]


def scenario(**changes: object) -> Scenario:
    """30 adapters, most of one size, for 6 places; a tenth of the requests are the base model's."""
    return small_scenario(
        tenants=[
            {"name": "a", "count": 20},
            {"name": "b", "count": 10, "adapter": {"rank": 32}},
            {"name": "base", "count": 3, "adapters": 0},
        ],
        workload={"rate_rps": 20.0, "duration_s": 100, "popularity": {"zipf": 0.9}},
        adapters={"hot": {"max_adapters": 6}},
        **changes,
    )


def of_policies(given: Scenario, *policies: str) -> list[Variant]:
    return [Variant(policy, given.with_overrides({POLICY: policy})) for policy in policies]


def test_misses_and_reloads_are_those_worked_out_by_hand() -> None:
    # 0 1 0 2 0 1 with two places. LRU: 0 and 1 come in, 2 takes the place of 1, and 1 that of 2:
    # 4 misses, of which one is 2's. Belady: the same, for 1 is asked for later than 0.
    asked = stream([0, 1, 0, 2, 0, 1], reload_s=np.array([1.0, 2.0, 4.0]))
    for policy in ("lru", "belady"):
        found = curve(asked, policy, [1, 2, 3])
        assert found.miss_ratio[1] == pytest.approx(4 / 6)
        assert found.reload_s_per_1000[1] == pytest.approx(1000 * (1 + 2 + 4 + 2) / 6)
        assert found.miss_ratio[2] == pytest.approx(3 / 6)
        assert found.reload_s_per_1000[2] == pytest.approx(1000 * 7 / 6)
    assert curve(asked, "lru", [1]).miss_ratio == (1.0,)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=120))
def test_belady_falls_with_capacity_and_lies_below_all_others(keys: list[int]) -> None:
    asked, places = stream(keys), [1, 2, 3, 5, 10]
    bound = curve(asked, "belady", places).miss_ratio
    assert list(bound) == sorted(bound, reverse=True)
    assert bound[-1] == pytest.approx(len(set(keys)) / len(keys))  # each is missed once
    for policy in EVICTION.names():
        found = curve(asked, policy, places).miss_ratio
        assert all(least <= own + 1e-12 for least, own in zip(bound, found, strict=True)), policy


@pytest.mark.parametrize("policy", ["lru", "gdsf", "2q", "lru+priority", "belady"])
def test_a_cache_bounded_by_bytes_is_the_replays(policy: str) -> None:
    random = np.random.default_rng(4)
    keys = (random.zipf(1.3, size=500) % 20).tolist()
    sizes = random.integers(5, 30, size=max(keys) + 1)
    asked = stream(keys, nbytes=sizes, by_count=False, place_bytes=12.0)
    accesses = [(key, int(sizes[key])) for key in keys]
    capacities = [12.0 * places for places in (2, 5, 9)]
    replayed = miss_ratio_curve(accesses, [policy], capacities)[policy]
    assert curve(asked, policy, [2, 5, 9]).miss_ratio == pytest.approx(replayed)
    assert len(set(replayed)) == 3


def test_a_count_of_places_takes_no_notice_of_sizes() -> None:
    sizes = np.array([5, 1000, 70])
    asked = stream([0, 1, 2, 0, 1, 2], nbytes=sizes, place_bytes=float(sizes.mean()))
    assert curve(asked, "lru", [3]).miss_ratio == (0.5,)
    assert curve(asked, "lru", [2]).miss_ratio == (1.0,)


def test_pinned_adapters_stay() -> None:
    keys = [0, 1, 2, 0]
    pinned = stream(keys, weight=np.array([math.inf, 1.0, 1.0]))
    assert curve(pinned, "lru", [2]).miss_ratio == (3 / 4,)  # 2 takes the place of 1
    assert curve(stream(keys), "lru", [2]).miss_ratio == (1.0,)
    # Where all places are pinned, what comes later never finds one.
    full = stream([0, 1, 1, 1, 0], weight=np.array([math.inf, 1.0]))
    assert curve(full, "lru", [1]).miss_ratio == (4 / 5,)


def test_the_stream_is_the_scenarios_requests_for_adapters() -> None:
    deployment = expand(scenario())
    blocks = list(open_traffic(deployment).blocks())
    adapter = np.concatenate([block.adapter for block in blocks])
    arrival_s = np.concatenate([block.arrival_s for block in blocks])
    assert (adapter < 0).any()
    found = stream_of(deployment)
    assert np.array_equal(found.adapter, adapter[adapter >= 0])
    assert np.array_equal(found.arrival_s, arrival_s[adapter >= 0])
    assert found.by_count and not found.slots and not found.cut
    assert found.place_bytes == found.nbytes.mean()

    some = stream_of(deployment, 100)
    assert some.cut
    assert np.array_equal(some.adapter, found.adapter[:100])
    assert not stream_of(deployment, len(found.adapter)).cut


def test_the_curves_are_of_the_variants_policies_and_of_belady() -> None:
    variants = of_policies(scenario(), "belady", "lru", "gdsf")
    found = capacity_curves(variants, 5)
    assert found is not None
    assert [each.policy for each in found.curves] == ["lru", "gdsf", "belady"]
    assert found.own == (6,)
    assert 6 in found.places
    assert found.places[-1] == found.stream.used <= 30
    assert (found.variant, found.seed, found.replicas) == ("belady", 5, 1)
    lru, _, bound = (each.miss_ratio for each in found.curves)
    assert all(best <= own for best, own in zip(bound, lru, strict=True))
    assert lru[found.places.index(6)] > bound[found.places.index(6)]


def test_processes_change_nothing() -> None:
    variants = of_policies(scenario(), "lru", "gdsf")
    alone, together = (capacity_curves(variants, 5, jobs) for jobs in (1, 2))
    assert alone is not None and together is not None
    assert alone.curves == together.curves


def test_a_months_price_is_the_memorys_share_of_the_gpus() -> None:
    given = scenario().with_overrides({"fleet.0.usd_per_gpu_hour": 2.0})
    found = capacity_curves(of_policies(given, "lru", "fifo"), 0)
    assert found is not None
    memory_bytes = expand(given).gpus[0].memory_bytes
    share = found.stream.place_bytes / memory_bytes
    assert found.usd_month_per_place == pytest.approx(share * 2.0 * 720)


def test_all_capacities_of_the_variants_are_marked() -> None:
    variants = [Variant(str(n), scenario().with_overrides({PLACES: n})) for n in (8, 2, 64)]
    found = capacity_curves(variants, 0)
    assert found is not None
    assert found.own == (2, 8, 64)
    assert set(found.own) < set(found.places)
    assert [each.policy for each in found.curves] == ["lru", "belady"]


def test_slots_are_places_of_one_size() -> None:
    slots = {"mode": "slots", "max_loras": 4, "max_lora_rank": 32}
    given = scenario(engine={"max_model_len": 1024, "memory": slots}).with_overrides({PLACES: None})
    found = capacity_curves(of_policies(given, "lru", "2q"), 0)
    assert found is not None
    assert found.own == (4,)
    assert found.stream.slots and found.stream.by_count
    assert len(set(found.stream.nbytes.tolist())) == 1


def test_a_bound_in_bytes_is_marked_in_mean_adapters() -> None:
    given = scenario().with_overrides({PLACES: None})
    mean_bytes = stream_of(expand(given)).place_bytes
    given = given.with_overrides({"adapters.hot.capacity_gb": 5.5 * mean_bytes / 1e9})
    found = capacity_curves(of_policies(given, "lru", "2q"), 0)
    assert found is not None
    assert found.own == (5,)
    assert not found.stream.by_count


def test_a_pool_without_a_bound_has_curves_over_bytes() -> None:
    given = scenario().with_overrides({PLACES: None})
    found = capacity_curves(of_policies(given, "lru", "2q"), 0)
    assert found is not None
    assert found.own == ()
    assert not found.stream.by_count
    assert capacity_curves([Variant("a", given), Variant("b", given)], 0) is None


def test_without_adapters_there_is_no_curve() -> None:
    given = small_scenario(
        tenants=[{"name": "base", "adapters": 0}], workload={"rate_rps": 5.0, "duration_s": 10}
    )
    assert capacity_curves(of_policies(given, "lru", "2q"), 0) is None
