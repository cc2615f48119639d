"""The distance from the bound: paired, against figures worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from simlora.planning.bound import Distance, distances
from simlora.planning.compare import Comparison, as_json, judge_runs
from simlora.planning.runner import Run
from simlora.planning.variants import Variant
from tests.simulating import small_scenario
from tests.unit.planning.comparing import HITS, metrics

POLICY, PLACES = "adapters.hot.eviction", "adapters.hot.max_adapters"


def compared(
    variants: Mapping[str, Mapping[str, object]], hits: Mapping[str, Sequence[float | None]]
) -> Comparison:
    """Variants by what they set, and the hit ratio of each in each replication."""
    made = [Variant(name, small_scenario().with_overrides(own)) for name, own in variants.items()]
    none: dict[str, float | None] = {metric.key: None for metric in metrics()}
    runs = [
        Run(name, replication, replication, none | {HITS: value}, "")
        for name, values in hits.items()
        for replication, value in enumerate(values)
    ]
    return judge_runs(made, metrics(), runs)


def of_policies(hits: Mapping[str, Sequence[float | None]]) -> dict[str, Distance]:
    found = distances(compared({name: {POLICY: name} for name in hits}, hits))
    return {line.variant: line for line in found}


def test_distances_are_paired_within_replications() -> None:
    # Belady less lru: 0.10, 0.12, 0.14. Mean 0.12, standard error 0.02 / sqrt(3), t(0.975, 2) =
    # 4.302653. The replications themselves differ by far more.
    found = of_policies({"lru": [0.2, 0.5, 0.8], "belady": [0.3, 0.62, 0.94]})
    distance = found["lru"].distance
    assert distance is not None
    assert distance.mean == pytest.approx(-0.12)
    margin = 4.302653 * 0.02 / 3**0.5
    assert (distance.low, distance.high) == pytest.approx((-0.12 - margin, -0.12 + margin))
    # The ratio's own interval has the spread of the replications: standard error 0.3 / sqrt(3).
    ratio = found["lru"].hit_ratio
    own = 4.302653 * 0.3 / 3**0.5
    assert (ratio.low, ratio.mean, ratio.high) == pytest.approx((0.5 - own, 0.5, 0.5 + own))


def test_the_bound_is_marked_and_has_no_distance() -> None:
    bound = of_policies({"lru": [0.2, 0.5], "belady": [0.3, 0.62]})["belady"]
    assert bound.is_bound
    assert bound.distance is None
    assert bound.hit_ratio.mean == pytest.approx(0.46)


def test_a_variant_above_the_bound_keeps_its_sign() -> None:
    above = of_policies({"belady": [0.5, 0.6], "lru": [0.51, 0.62]})["lru"].distance
    assert above is not None and above.mean == pytest.approx(0.015)


def test_replications_without_a_hit_ratio_are_left_out() -> None:
    line = of_policies({"lru": [0.2, None, 0.4], "belady": [0.3, 0.5, None]})["lru"]
    assert line.distance is not None
    assert (line.distance.pairs, line.distance.mean) == (1, pytest.approx(-0.1))
    assert line.hit_ratio.mean == pytest.approx(0.3)


@pytest.mark.parametrize("policy", ["fifo", "belady+priority"])
def test_without_plain_belady_there_is_no_bound(policy: str) -> None:
    hits: dict[str, list[float | None]] = {"lru": [0.2, 0.5], policy: [0.3, 0.6]}
    assert of_policies(hits) == {}
    variants = {name: {POLICY: name} for name in hits}
    assert as_json(compared(variants, hits))["bound"] is None


def test_without_a_hit_ratio_there_is_no_distance() -> None:
    assert of_policies({"lru": [None, None], "belady": [None, None]}) == {}


def test_each_variant_has_the_bound_that_is_like_it_in_all_else() -> None:
    settings: dict[str, dict[str, object]] = {
        f"{policy} {places}": {POLICY: policy, PLACES: places}
        for places in (1, 3)
        for policy in ("lru", "belady")
    }
    settings["lru 2"] = {POLICY: "lru", PLACES: 2}
    hits: dict[str, list[float | None]] = {
        "lru 1": [0.1, 0.2],
        "belady 1": [0.2, 0.3],
        "lru 3": [0.5, 0.6],
        "belady 3": [0.9, 1.0],
        "lru 2": [0.3, 0.4],
    }
    found = {line.variant: line for line in distances(compared(settings, hits))}
    assert {name: line.bound for name, line in found.items()} == {
        "lru 1": "belady 1",
        "belady 1": "belady 1",
        "lru 3": "belady 3",
        "belady 3": "belady 3",
        "lru 2": None,
    }
    one, three = found["lru 1"].distance, found["lru 3"].distance
    assert one is not None and one.mean == pytest.approx(-0.1)
    assert three is not None and three.mean == pytest.approx(-0.4)
    assert found["lru 2"].distance is None


def test_names_and_seeds_of_scenarios_do_not_part_a_pair() -> None:
    variants: dict[str, dict[str, object]] = {
        "lru": {POLICY: "lru"},
        "belady": {POLICY: "belady", "name": "other", "seed": 3, "description": "the bound"},
    }
    found = distances(compared(variants, {"lru": [0.1], "belady": [0.2]}))
    assert [line.bound for line in found] == ["belady", "belady"]


def test_json_has_the_distances_as_plain_values() -> None:
    hits: dict[str, list[float | None]] = {"lru": [0.2, 0.5, 0.8], "belady": [0.3, 0.62, 0.94]}
    told = as_json(compared({name: {POLICY: name} for name in hits}, hits))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    bound = told["bound"]
    assert (bound["policy"], bound["metric"]) == ("belady", HITS)
    lru, belady = bound["variants"]["lru"], bound["variants"]["belady"]
    assert lru["distance"] == pytest.approx(-0.12)
    assert lru["distance_interval"][0] < -0.12 < lru["distance_interval"][1]
    assert (belady["bound"], belady["distance"], belady["distance_interval"]) == (
        "belady",
        None,
        None,
    )
