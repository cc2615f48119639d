"""Hit ratios by the tenants' rank: every request in one bucket, and in the right one."""

from __future__ import annotations

import pytest

from simlora.planning.compare import judge_runs
from simlora.planning.metrics import metrics_of
from simlora.planning.ranks import RankBucket, buckets_by_rank, hits_by_rank, rank_bounds
from simlora.planning.runner import Run, prepare, run_variants
from simlora.planning.variants import Variant
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from tests.simulating import small_scenario


def crowded() -> Scenario:
    """Nine tenants, one of them without an adapter, of Zipf popularity, for four places."""
    return small_scenario(
        tenants=[{"name": "t", "count": 8}, {"name": "base", "adapters": 0}],
        workload={"rate_rps": 8.0, "duration_s": 60, "popularity": {"zipf": 1.2}},
        adapters={"hot": {"max_adapters": 4}},
    )


@pytest.mark.parametrize("tenants", [1, 2, 3, 4, 5, 8, 9, 600, 1024, 1025])
def test_buckets_hold_every_rank_once(tenants: int) -> None:
    bounds = rank_bounds(tenants)
    ranks = [rank for first, last in bounds for rank in range(first, last + 1)]
    assert ranks == list(range(1, tenants + 1))


def test_buckets_add_up_to_all_requests_that_looked_up_an_adapter() -> None:
    result = simulate(crowded())
    buckets = hits_by_rank(result)
    requests = result.requests
    assert len(buckets) == len(rank_bounds(9))
    assert sum(lookups for lookups, _ in buckets) == (requests["adapter_source"] != "none").sum()
    assert (requests["adapter_source"] == "none").sum() > 0
    assert sum(hits for _, hits in buckets) == result.summary["adapters"]["hits_by_tier"]["hot"]
    ratio = sum(hits for _, hits in buckets) / sum(lookups for lookups, _ in buckets)
    assert ratio == pytest.approx(result.summary["adapters"]["hit_ratio"])


def test_the_first_bucket_is_the_busiest_tenants() -> None:
    result = simulate(crowded())
    busiest = result.tenants.loc[result.tenants["offered"].idxmax(), "tenant"]
    own = result.requests[result.requests["tenant"] == busiest]
    lookups = (own["adapter_source"] != "none").sum()
    assert hits_by_rank(result)[0] == (lookups, (own["adapter_source"] == "hot").sum())


def variants() -> list[Variant]:
    return [
        Variant(str(places), crowded().with_overrides({"adapters.hot.max_adapters": places}))
        for places in (4, 2)
    ]


def test_runs_carry_their_buckets_in_any_number_of_processes() -> None:
    metrics = metrics_of(prepare(variants()))
    alone = run_variants(variants(), metrics, range(2), 1)
    assert run_variants(variants(), metrics, range(2), 2) == alone
    compared = judge_runs(variants(), metrics, alone.finished)
    found = buckets_by_rank(compared)
    for name, buckets in found.items():
        runs = [run.by_rank for run in alone.finished if run.variant == name]
        assert sum(bucket.lookups for bucket in buckets) == sum(
            lookups for run in runs for lookups, _ in run
        )
    assert [bucket.hit_ratio for bucket in found["4"]] != [b.hit_ratio for b in found["2"]]


def test_replications_are_weighted_by_their_requests() -> None:
    two_tenants = small_scenario(tenants=[{"name": "t", "count": 2}])
    both = [Variant(name, two_tenants) for name in "ab"]
    runs = [
        Run("a", 0, 7, {}, "", ((10, 10), (1, 0))),
        Run("b", 0, 7, {}, "", ((10, 5), (1, 0))),
        Run("a", 1, 8, {}, "", ((30, 0), (0, 0))),
        Run("b", 1, 8, {}, "", ((30, 15), (0, 0))),
        Run("a", 2, 9, {}, "", ((99, 99), (99, 99))),  # b did not finish this one
    ]
    found = buckets_by_rank(judge_runs(both, [], runs, interrupted=True))
    assert found["a"] == [RankBucket(1, 1, 40, 10), RankBucket(2, 2, 1, 0)]
    assert [bucket.hit_ratio for bucket in found["b"]] == [0.5, 0.0]


def test_the_same_hits_everywhere_tell_nothing() -> None:
    both = [Variant(name, small_scenario()) for name in "ab"]
    hits = ((5, 5), (3, 3), (2, 1))
    runs = [Run(name, 0, 7, {}, "", hits) for name in "ab"]
    assert buckets_by_rank(judge_runs(both, [], runs)) == {}


def test_a_bucket_that_nobody_asks_from_has_no_hit_ratio() -> None:
    assert RankBucket(1, 1, 0, 0).hit_ratio is None
