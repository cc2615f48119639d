"""Distances from the bound in words."""

from __future__ import annotations

from simlora.planning.bound import distances
from simlora.report.comparison_bound import note, rows, table
from tests.unit.planning.test_bound import PLACES, POLICY, compared


def test_rows_have_intervals_signs_and_the_bound() -> None:
    hits: dict[str, list[float | None]] = {
        "lru": [0.2, 0.5, 0.8],
        "belady": [0.3, 0.62, 0.94],
        "new": [0.3005, 0.6205, 0.9405],
    }
    found = distances(
        compared(
            {name: {POLICY: name} for name in ("lru", "belady")} | {"new": {POLICY: "sieve"}}, hits
        )
    )
    assert rows(found) == [
        ("lru", "50.0 ±74.5", "−12.0 ±5.0"),
        ("belady", "62.0 ±79.5", "the bound"),
        ("new", "62.0 ±79.5", "+0.05 ±0.00"),
    ]
    told = table(found)
    assert told.count("<tr>") == 4
    assert "<td>−12.0 ±5.0</td>" in told


def test_one_replication_has_no_interval() -> None:
    one = compared({n: {POLICY: n} for n in ("lru", "belady")}, {"lru": [0.2], "belady": [0.3]})
    found = distances(one)
    assert rows(found) == [("lru", "20.0", "−10.0"), ("belady", "30.0", "the bound")]
    assert "±" not in note(one, found)


def test_a_variant_without_a_bound_of_its_own_is_told() -> None:
    variants: dict[str, dict[str, object]] = {
        "belady": {POLICY: "belady", PLACES: 3},
        "<more>": {POLICY: "lru", PLACES: 2},
    }
    both = compared(variants, {"belady": [0.3], "<more>": [0.4]})
    found = distances(both)
    assert rows(found)[1] == ("<more>", "40.0", "—")
    assert note(both, found).endswith("No belady is like <more> in all else.")
    assert "<more>" not in table(found)


def test_what_belady_does_not_know_of_several_replicas_is_told() -> None:
    hits = {"lru": [0.2], "belady": [0.3]}
    for replicas in (1, 2):
        fleet = {"fleet.0.replicas": replicas}
        both = compared({name: fleet | {POLICY: name} for name in hits}, hits)
        assert ("of several replicas" in note(both, distances(both))) == (replicas == 2)
