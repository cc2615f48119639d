"""Other ways to serve the same demand: where their curves cross."""

from __future__ import annotations

from itertools import pairwise

import pytest

from simlora.cost.alternatives import (
    DEDICATED,
    HYBRID,
    SHARED,
    BreakEven,
    Demand,
    break_even,
    cheapest,
    curves,
    dedicate,
    on_the_same_demand,
)
from simlora.cost.capacity import saturated_s
from simlora.cost.growth import growth
from simlora.cost.usage import rents
from simlora.scenario.cost import Alternatives, Cost, FewShot, Growth, Rag
from tests.unit.cost.billing import an_hour_of, deployment

# A query costs $0.001, an instance $1,000 a month, busy up to 518,400 queries at 0.4 of the time.
DEMAND = Demand(
    prompt_tokens=500.0,
    output_tokens=100.0,
    usd_per_input_token=1e-6,
    usd_per_output_token=5e-6,
    replica_s=2.0,
    replica_usd=1000.0,
    replica_kind=0,
    queries=[100.0, 5e5],
)
COST = Cost(
    alternatives=Alternatives(
        lora_overhead=0.0,
        amortize_months=10.0,
        few_shot=FewShot(examples=10, tokens_per_example=100),
        rag=Rag(setup_usd=10.0, usd_per_month=5.0, context_tokens=500),
    )
)
WAYS = curves(DEMAND, COST, None)


def test_curves_are_set_up_and_queries_and_whole_instances() -> None:
    assert WAYS[SHARED](1e4) == pytest.approx(30 + 10)
    assert WAYS["few-shot prompting"](1e4) == pytest.approx(10 + 10)
    assert WAYS["RAG"](1e4) == pytest.approx(6 + 15)
    assert WAYS["LoRA + RAG"](1e4) == pytest.approx(36 + 15)
    assert WAYS[DEDICATED](1) == WAYS[DEDICATED](518_400) == pytest.approx(1030)
    assert WAYS[DEDICATED](518_401) == pytest.approx(2030)


def test_retrieval_on_the_base_model_alone_computes_what_lora_takes_the_less() -> None:
    """The retrieved context is computed by the base model too: of 1,000 tokens a query, half of
    them context, all are cheaper by a fifth."""
    asked = Alternatives(
        lora_overhead=0.2,
        rag=Rag(setup_usd=0.0, usd_per_month=0.0, usd_per_query=0.01, context_tokens=500),
        few_shot=FewShot(examples=1, tokens_per_example=500),
    )
    ways = curves(DEMAND, Cost(alternatives=asked), None)
    each = 0.8 * (0.001 + 500 * 1e-6)
    assert ways["few-shot prompting"](1e3) == pytest.approx(1e3 * each)
    assert ways["RAG"](1e3) == pytest.approx(1e3 * (each + 0.01))


def test_every_adapter_of_a_tenant_is_set_up_and_merged_into_an_instance_of_its_own() -> None:
    three = curves(DEMAND, COST, None, adapters=3.0)
    assert three[SHARED](1e4) - WAYS[SHARED](1e4) == pytest.approx(2 * 30)
    assert three["LoRA + RAG"](1e4) - WAYS["LoRA + RAG"](1e4) == pytest.approx(2 * 30)
    assert three[DEDICATED](1e4) == pytest.approx(90 + 1000)
    assert three["merged weights"](1e4) == pytest.approx(90 + 3 * 1000)
    assert three["RAG"](1e4) == WAYS["RAG"](1e4)


def test_what_nobody_has_given_figures_for_is_not_compared() -> None:
    assert list(curves(DEMAND, Cost(), None)) == [SHARED, "merged weights", DEDICATED]


def test_break_evens_are_where_the_curves_cross() -> None:
    shots = break_even(WAYS[SHARED], WAYS["few-shot prompting"])
    assert (shots.cheaper, shots.queries) == ("below", pytest.approx(30_000, abs=1))
    retrieval = break_even(WAYS[SHARED], WAYS["RAG"])
    assert (retrieval.cheaper, retrieval.queries) == ("below", pytest.approx(48_000, abs=1))
    assert break_even(WAYS[SHARED], WAYS["LoRA + RAG"]) == BreakEven("never")
    assert break_even(WAYS["LoRA + RAG"], WAYS[SHARED]) == BreakEven("always")
    flat = break_even(WAYS[SHARED], lambda queries: 1030.0)
    assert (flat.cheaper, flat.queries) == ("above", pytest.approx(1_000_000, abs=1))
    assert not flat.again


def test_a_break_even_says_that_it_is_only_the_first() -> None:
    """Instances come whole: with the second one the shared fleet is cheaper once more."""
    own = break_even(lambda q: 0.003 * q, lambda q: 1000.0 if q <= 5e5 else 1e9)
    assert (own.cheaper, own.queries) == ("above", pytest.approx(333_333, abs=1))
    assert own.again


def test_the_cheapest_way_has_no_gap_and_is_the_cheapest() -> None:
    reigns = cheapest(WAYS)
    assert reigns[0].from_queries == 1 and reigns[-1].to_queries == pytest.approx(1e8)
    for one, other in pairwise(reigns):
        assert one.to_queries == other.from_queries
        assert one.name != other.name
    for reign in reigns:
        middle = (reign.from_queries * reign.to_queries) ** 0.5
        assert WAYS[reign.name](middle) == min(curve(middle) for curve in WAYS.values())
    assert [reign.name for reign in reigns[:3]] == ["few-shot prompting", "RAG", SHARED]


def test_hybrid_serves_each_tenant_where_it_is_cheaper() -> None:
    costly = curves(Demand(5e3, 1e3, 1e-6, 5e-6, 0.5, 1000.0, 0, [100.0, 5e5]), COST, None)
    found = on_the_same_demand(Demand(5e3, 1e3, 1e-6, 5e-6, 0.5, 1000.0, 0, [100.0, 5e5]), costly)
    assert found[HYBRID] == pytest.approx(costly[SHARED](100) + costly[DEDICATED](5e5))
    assert found[HYBRID] < min(found[SHARED], found[DEDICATED])


def test_a_penalty_above_the_price_of_an_instance_dedicates_one() -> None:
    assert dedicate("a", 1e4, 1031.0, WAYS).by_penalty
    below = dedicate("a", 1e4, 1029.0, WAYS)
    assert not below.by_penalty and below.by_cost  # with what it costs where it is, it pays
    assert not dedicate("a", 1e4, 100.0, WAYS).by_cost


def test_a_replica_has_more_to_do_for_longer_answers_and_prompts_and_larger_models() -> None:
    small = deployment()
    large = deployment(model="qwen2.5-32b", fleet=[{"gpu": "h200"}])
    short_s = saturated_s(small, 0, 500, 100)
    assert short_s < saturated_s(small, 0, 500, 200) < saturated_s(large, 0, 500, 200)
    assert short_s < saturated_s(small, 0, 2000, 100)
    # A GPU serves dozens of such queries a second, not one and not thousands.
    assert 0.002 < short_s < 0.2


def test_growth_adds_replicas_when_the_load_passes_the_limit() -> None:
    of = deployment()
    summary, cost = an_hour_of(of), Cost(growth=Growth(per_month=0.5, months=4, busy_limit=0.8))
    once_s = saturated_s(of, 0, 500, 100)
    month_s = 720 * 3600.0
    busy = Demand(500, 100, 1e-6, 5e-6, once_s, 2880.0, 0, [0.7 * month_s / once_s])
    found = growth(of, summary, rents(of, summary, cost), busy, cost)
    assert [later.month for later in found] == [0, 1, 2, 3, 4]
    assert found[0].load == pytest.approx(0.7) and found[0].fleet_factor == 1.0
    assert found[0].usd == pytest.approx(2880.0)
    for later in found:
        assert later.load <= 0.8 * later.fleet_factor + 1e-9
        assert later.fleet_factor == 1 or later.load > 0.8 * (later.fleet_factor - 1)
        assert later.usd == pytest.approx(2880.0 * later.fleet_factor)
    assert found[-1].fleet_factor > 1
    assert growth(of, summary, rents(of, summary, cost), busy, Cost()) == []
