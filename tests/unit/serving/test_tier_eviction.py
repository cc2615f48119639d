"""Eviction policies at work in a replica's tiers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.eviction import EVICTION, LRU, PolicyContext
from simlora.serving.eviction.replay import replay
from simlora.serving.request import SOURCE_HOT, SOURCE_NAMES
from simlora.workload import open_traffic
from tests.simulating import Ask, Finished, run, small_scenario

HERE = "tests.unit.serving.test_tier_eviction"
# Latencies that are easily told apart, in seconds.
WARM_S, NVME_S, STORE_S = 0.25, 0.5, 2.0
PCIE_BYTES_PER_S, NVME_BYTES_PER_S, STORE_BYTES_PER_S = 32e9, 1e6, 0.5e6
# A store that takes nothing beside its latency and its bandwidth.
BARE = {"tls_s": 0, "decompression_gbps": None, "deserialization_gbps": None}
TIERS: dict[str, Any] = {
    "warm": {"registration_s": WARM_S},
    "nvme": {"latency_s": NVME_S, "bandwidth_gbps": NVME_BYTES_PER_S * 8e-9},
    "store": {"latency_s": STORE_S, "bandwidth_gbps": STORE_BYTES_PER_S * 8e-9} | BARE,
    "initial_tier": "warm",
}
CLASSES: dict[str, Any] = {
    "tenants": [
        {"name": "pro", "tier": "gold"},
        {"name": "pinned", "tier": "platinum"},
        {"name": "free", "count": 6},
    ],
    "tiers": {"gold": {"weight": 5.0}, "platinum": {}},
}


def scenario(hot: str = "lru", slots: int | None = None, **changes: Any) -> Scenario:
    adapters = TIERS | {"hot": {"eviction": hot}}
    engine: dict[str, Any] = {"max_model_len": 1024}
    if slots:
        engine["memory"] = {"mode": "slots", "max_loras": slots, "max_lora_rank": 16}
    for tier, eviction in changes.pop("evictions", {}).items():
        adapters[tier] = adapters[tier] | {"eviction": eviction}
    return small_scenario(engine=engine, adapters=adapters, **changes)


def sources(finished: Finished) -> list[str]:
    return [SOURCE_NAMES[request.adapter_source] for request in finished.requests]


@pytest.mark.parametrize("name", [*EVICTION.names(), "2q+priority", "lru-3", "ttl-40", "belady"])
def test_a_replica_that_serves_one_by_one_hits_like_a_replay(name: str) -> None:
    traffic: dict[str, Any] = {
        "tenants": [{"name": "tenant", "count": 60, "adapter": {"rank": 4}}],
        "workload": {
            "rate_rps": 1.0,
            "arrivals": "constant",
            "max_requests": 2_000,
            "prompt_tokens": {"fixed": 1},
            "output_tokens": {"fixed": 1},
        },
    }
    of = scenario(name, slots=20, **traffic).with_overrides({"adapters.warm.registration_s": 0.01})
    deployment = expand(of)
    finished = run(of, open_traffic(deployment), sample_interval_s=4_096.0)
    slots_bytes = finished.simulation.plans[0].slot_bytes
    alone = replay(
        [(request.adapter, slots_bytes // 20) for request in finished.requests],
        name,
        slots_bytes,
        times_s=[request.arrival_s for request in finished.requests],
        context=PolicyContext(
            reload_s=lambda key: 0.01 + deployment.adapters[key].nbytes / PCIE_BYTES_PER_S,
            unit_bytes=slots_bytes // 20,
        ),
    )
    hits = sum(request.adapter_source == SOURCE_HOT for request in finished.requests)
    assert hits == alone.hits
    finished.schedulers[0].memory.check()


def test_priority_keeps_the_adapter_of_the_weightier_tier() -> None:
    asks = [Ask(5.0 * i, a) for i, a in enumerate((0, 2, 3, 4, 5, 0))]
    assert sources(run(scenario("lru", 3, **CLASSES), asks))[-1] == "warm"
    assert sources(run(scenario("lru+priority", 3, **CLASSES), asks))[-1] == "hot"
    assert sources(run(scenario("sla-aware", 3, **CLASSES), asks))[-1] == "hot"


@pytest.mark.parametrize(
    ("tier", "after"), [("hot", "warm"), ("warm", "nvme"), ("nvme", "store"), (None, "hot")]
)
def test_an_adapter_whose_time_is_over_is_loaded_anew(tier: str | None, after: str) -> None:
    """From a tier below; what holds it meanwhile above is not asked."""
    if tier == "nvme":
        evictions = {"nvme": "ttl-20", "warm": "ttl-15", "hot": "ttl-15"}
    elif tier == "warm":
        evictions = {"warm": "ttl-20", "hot": "ttl-15"}
    else:
        evictions = {"hot": "ttl-20"} if tier else {}
    finished = run(scenario(evictions=evictions), [Ask(0.0, 0), Ask(10.0, 0), Ask(40.0, 0)])
    assert sources(finished) == ["warm", "hot", after]
    finished.schedulers[0].memory.check()


def test_an_adapter_in_use_is_used_to_the_end_of_its_request() -> None:
    of = scenario("ttl-0.001").with_overrides({"timing.profile": "tests.timings:ConstantStep"})
    first, second = run(of, [Ask(0.0, 0, 10, 400), Ask(2.0, 0)]).requests
    assert first.finish_s > 2.0
    assert SOURCE_NAMES[second.adapter_source] == "hot"


class Spy(LRU):
    """Tells what it was told."""

    seen: list[PolicyContext] = []  # noqa: RUF012

    def bind(self, context: PolicyContext) -> None:
        self.seen.append(context)


def test_a_policy_is_told_of_its_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PolicyContext] = []
    monkeypatch.setattr(f"{HERE}.Spy.seen", seen)
    everywhere = dict.fromkeys(("hot", "warm", "nvme"), f"{HERE}:Spy")
    of = scenario(slots=4, evictions=everywhere, **CLASSES).with_overrides(
        {"adapters.hot.pinned_tiers": ["platinum"]}
    )
    plan = run(of, [Ask(0.0, 0)]).simulation.plans[0]
    warm, nvme, hot = seen
    assert (hot.capacity_bytes, hot.unit_bytes) == (plan.slot_bytes, plan.slot_bytes // 4)
    assert (warm.capacity_bytes, nvme.capacity_bytes) == (256e9, 1000e9)
    nbytes = expand(of).adapters[0].nbytes
    assert warm.unit_bytes == nvme.unit_bytes == nbytes
    assert [hot.weight(key) for key in (0, 1, 2)] == [5.0, inf, 1.0]
    assert hot.reload_s(0) == WARM_S + nbytes / PCIE_BYTES_PER_S  # host memory has it
    assert warm.reload_s(0) == NVME_S + nbytes / NVME_BYTES_PER_S
    assert nvme.reload_s(0) == STORE_S + nbytes / STORE_BYTES_PER_S


def test_what_is_not_in_host_memory_costs_the_whole_way(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PolicyContext] = []
    monkeypatch.setattr(f"{HERE}.Spy.seen", seen)
    of = scenario(f"{HERE}:Spy").with_overrides(
        {"adapters.warm.capacity_gb": 0.0, "adapters.initial_tier": "nvme"}
    )
    run(of, [Ask(0.0, 0)])
    (hot,) = seen
    assert hot.capacity_bytes is None  # the KV cache takes from the same pool
    nbytes = expand(of).adapters[0].nbytes
    assert hot.reload_s(0) == pytest.approx(
        WARM_S + nbytes / PCIE_BYTES_PER_S + NVME_S + nbytes / NVME_BYTES_PER_S
    )
