"""The runs of a comparison: prepared first, on common random numbers, in several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.planning.metrics import metrics_of
from simlora.planning.runner import prepare, run_variants, traffic_hash
from simlora.planning.seeds import MOST_SEED
from simlora.planning.variants import Variant
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario
from simlora.workload.traffic import open_traffic
from tests.simulating import small_scenario

ZIPF = Path(__file__).parents[3] / "scenarios" / "eviction-zipf.yaml"
COLUMNS = ("arrival_s", "tenant", "adapter", "prompt_tokens", "output_tokens", "session")

OTHER_DECISIONS = {
    "adapters.hot.eviction": "gdsf",
    "adapters.hot.max_adapters": 32,
    "adapters.warm.capacity_gb": 1,
    "gateway.routing": "round_robin",
    "engine.max_num_seqs": 16,
    "engine.prefix_cache.enabled": False,
    "fleet.0.replicas": 3,
    "tenants.0.tier": "free",
    "tenants.1.adapter.rank": 64,
    "tiers.gold.weight": 1,
}
OTHER_TRAFFIC = {
    "seed": 1,
    "workload.rate_rps": 11,
    "workload.popularity.zipf": 0.9,
    "workload.output_tokens.fixed": 10,
    "tenants.0.count": 61,
    "tenants.0.adapters": 2,
}


@pytest.mark.parametrize("field", OTHER_DECISIONS)
def test_decisions_leave_the_traffic_as_it_is_bit_by_bit(field: str) -> None:
    scenario = load_scenario(ZIPF)
    other = scenario.with_overrides({field: OTHER_DECISIONS[field]})
    ours, theirs = (open_traffic(expand(each)).blocks() for each in (scenario, other))
    for our, their in zip(ours, theirs, strict=True):
        for column in COLUMNS:
            assert np.array_equal(getattr(our, column), getattr(their, column)), column
    assert traffic_hash(expand(scenario)) == traffic_hash(expand(other))


@pytest.mark.parametrize("field", OTHER_TRAFFIC)
def test_the_hash_tells_other_traffic(field: str) -> None:
    scenario = load_scenario(ZIPF)
    other = scenario.with_overrides({field: OTHER_TRAFFIC[field]})
    assert traffic_hash(expand(scenario)) != traffic_hash(expand(other))


def variants() -> list[Variant]:
    base = small_scenario(workload={"rate_rps": 4.0, "duration_s": 30})
    return [
        Variant(str(most), base.with_overrides({"adapters.hot.max_adapters": most}))
        for most in (1, 2, 4)
    ]


def test_the_number_of_processes_changes_nothing() -> None:
    metrics = metrics_of(prepare(variants()))
    told: list[int] = []
    alone = run_variants(variants(), metrics, range(5, 8), 1, told.append)
    assert told == list(range(1, 10))
    assert run_variants(variants(), metrics, range(5, 8), 2) == alone
    places = [(run.seed, run.variant) for run in alone.finished]
    assert places == [(seed, name) for seed in (5, 6, 7) for name in ("1", "2", "4")]
    for replication in range(3):
        of_one = [run for run in alone.finished if run.replication == replication]
        assert len({run.traffic for run in of_one}) == 1
        assert len({run.figures["adapters.hit_ratio"] for run in of_one}) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"adapters.hot.eviction": "magic"}, "adapters.hot.eviction: unknown name 'magic'"),
        ({"model": "llama-3.1-405b"}, "needs"),
        ({"workload": {"trace": "none.parquet"}}, "none.parquet"),
    ],
)
def test_what_is_wrong_with_a_variant_is_told_before_anything_runs(
    settings: dict[str, object], said: str
) -> None:
    broken = Variant("broken", small_scenario().with_overrides(settings))
    with pytest.raises(UserError) as told:
        prepare([*variants(), broken])
    assert str(told.value).startswith("variant broken: ")
    assert said in str(told.value)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_variant_that_fails_in_its_run_is_named(jobs: int) -> None:
    late = small_scenario(workload={"rate_rps": 1e-6, "duration_s": 10})
    broken = [Variant("late", late), Variant("later", late)]
    with pytest.raises(UserError, match=r"variant late.*: workload: no request arrives"):
        run_variants(broken, metrics_of(prepare(broken)), [0, 1], jobs)


def test_seeds_have_an_end() -> None:
    with pytest.raises(UserError, match="leaves no room for 3 replications"):
        run_variants(variants(), [], range(MOST_SEED, MOST_SEED + 3))


def test_ctrl_c_leaves_what_is_finished() -> None:
    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    runs = run_variants(variants(), metrics_of(prepare(variants())), range(3), 1, stop)
    assert runs.interrupted
    assert [(run.replication, run.variant) for run in runs.finished] == [
        (0, "1"),
        (0, "2"),
        (0, "4"),
        (1, "1"),
    ]
