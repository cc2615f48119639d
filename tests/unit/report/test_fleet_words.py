"""A fleet's pools are told apart by what differs, and by no more."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.report.fleet_words import fleet_words, is_mixed, price_words, rented_words

POOL: dict[str, Any] = {"gpu": "h100-80gb", "replicas": 2, "tensor_parallel": 1}


def simulation(*pools: dict[str, Any]) -> dict[str, Any]:
    said = {"model": "llama-3.1-8b", "weights": "bf16", "region": "local"}
    fleet = [{"name": str(i)} | POOL | said | pool for i, pool in enumerate(pools)]
    return {"model": "llama-3.1-8b", "weights": "bf16", "fleet": fleet}


@pytest.mark.parametrize(
    ("pools", "words", "mixed"),
    [
        ([{}], "llama-3.1-8b on 2 × h100-80gb", False),
        ([{"weights": "fp8"}], "llama-3.1-8b in fp8 on 2 × h100-80gb", False),
        (
            [{}, {"gpu": "l40s", "replicas": 1, "tensor_parallel": 4}],
            "llama-3.1-8b on 2 × h100-80gb + 1 × l40s (× 4, tensor parallel)",
            False,
        ),
        (
            [{}, {"model": "qwen2.5-7b", "weights": "fp8"}],
            "2 × h100-80gb with llama-3.1-8b + 2 × h100-80gb with qwen2.5-7b in fp8",
            True,
        ),
        (
            [{"name": "main", "region": "eu"}, {"region": "us"}],
            "llama-3.1-8b on main: 2 × h100-80gb in eu + 1: 2 × h100-80gb in us",
            True,
        ),
    ],
)
def test_what_differs_is_told(pools: list[dict[str, Any]], words: str, mixed: bool) -> None:
    assert fleet_words(simulation(*pools)) == words
    assert is_mixed(simulation(*pools)) is mixed


def test_a_run_of_an_older_version_is_told_by_its_only_model() -> None:
    old = {"model": "llama-3.1-8b", "weights": "fp8", "fleet": [POOL, POOL]}
    assert fleet_words(old) == "llama-3.1-8b in fp8 on 2 × h100-80gb + 2 × h100-80gb"
    assert not is_mixed(old)


def test_an_autoscaled_pool_has_so_many_to_so_many_replicas() -> None:
    assert fleet_words(simulation({"min_replicas": 0})) == "llama-3.1-8b on 0 to 2 × h100-80gb"
    assert fleet_words(simulation({"min_replicas": 2})) == "llama-3.1-8b on 2 × h100-80gb"


def test_the_price_of_an_hour_follows_what_was_rented() -> None:
    cost = {"gpus": 4, "gpu_usd_per_hour": 16.0, "fleet_usd_per_month": 16.0 * 720}
    assert price_words(cost) == "$16.00 an hour for 4 GPUs"
    scaled = cost | {"fleet_usd_per_month": 5.5 * 720}
    assert price_words(scaled) == "$5.50 an hour on average, $16.00 for all 4 GPUs"


def test_what_was_rented_and_up_is_told_where_it_changed() -> None:
    up = {"mean": 1.5, "least": 0, "most": 2}
    fixed: dict[str, Any] = {"simulation": simulation({}) | {"span_s": 7200.0}, "cost": {}}
    assert rented_words(fixed) == ""
    assert rented_words(fixed | {"replicas_up": up}) == "1.50 up on average, 0 to 2"
    scaled = {
        "simulation": simulation({"min_replicas": 0}) | {"span_s": 7200.0},
        "cost": {"replica_hours": 3.2},
    }
    assert rented_words(scaled) == "3.20 of 4.00 replica-hours rented"
    assert rented_words(scaled | {"replicas_up": up}) == (
        "3.20 of 4.00 replica-hours rented, 1.50 up on average, 0 to 2"
    )
