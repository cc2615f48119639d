"""Where adapters are, what it takes to bring them up, and who waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.serving.request import REJECTED, SOURCE_NAMES, Request
from tests.simulating import Ask, Finished, phases_s, run, small_scenario, with_pool

# Latencies that are easily told apart, in seconds.
WARM_S, NVME_S, STORE_S = 0.25, 0.5, 2.0
NVME_BYTES_PER_S, STORE_BYTES_PER_S, PCIE_BYTES_PER_S = 1e6, 0.5e6, 32e9
# A store that takes nothing beside its latency and its bandwidth.
BARE = {"tls_s": 0, "decompression_gbps": None, "deserialization_gbps": None}


def scenario(
    engine: dict[str, Any] | None = None,
    tenants: list[dict[str, Any]] | None = None,
    **adapters: Any,
) -> Scenario:
    tiers: dict[str, Any] = {
        "warm": {"registration_s": WARM_S},
        "nvme": {"latency_s": NVME_S, "bandwidth_gbps": NVME_BYTES_PER_S * 8e-9},
        "store": {"latency_s": STORE_S, "bandwidth_gbps": STORE_BYTES_PER_S * 8e-9} | BARE,
        "initial_tier": "warm",
    }
    for name, value in adapters.items():
        tiers[name] = tiers[name] | value if name in tiers and name != "initial_tier" else value
    fields: dict[str, Any] = {"tenants": tenants} if tenants else {}
    return small_scenario(
        timing={"profile": "tests.timings:ConstantStep"},
        engine={"max_model_len": 1024} | (engine or {}),
        adapters=tiers,
        **fields,
    )


def slots(count: int) -> dict[str, Any]:
    return {"memory": {"mode": "slots", "max_loras": count, "max_lora_rank": 16}}


def sources(finished: Finished) -> list[str]:
    return [SOURCE_NAMES[request.adapter_source] for request in finished.requests]


def hot_copy_s(of: Scenario) -> float:
    """From host to GPU memory."""
    return WARM_S + expand(of).adapters[0].nbytes / PCIE_BYTES_PER_S


def assert_phases_add_up(requests: list[Request]) -> None:
    for request in requests:
        assert phases_s(request) == pytest.approx(request.finish_s - request.arrival_s, abs=1e-9)


# --- the way up ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("initial", "latency_s", "bytes_per_s"),
    [("store", STORE_S, STORE_BYTES_PER_S), ("nvme", NVME_S, NVME_BYTES_PER_S)],
)
def test_a_cold_adapter_takes_every_link_on_its_way(
    initial: str, latency_s: float, bytes_per_s: float
) -> None:
    of = scenario(initial_tier=initial)
    finished = run(of, [Ask(0.0, 0), Ask(20.0, 0)])
    fetch_s = latency_s + expand(of).adapters[0].nbytes / bytes_per_s
    first, second = finished.requests
    assert sources(finished) == [initial, "hot"]
    assert first.adapter_wait_s == pytest.approx(fetch_s + hot_copy_s(of))
    assert second.adapter_wait_s == 0.0
    assert_phases_add_up(finished.requests)


def test_two_cold_adapters_share_the_link_to_the_store() -> None:
    of = scenario(initial_tier="store")
    one, other = run(of, [Ask(0.0, 0), Ask(0.0, 1)]).requests
    fetch_s = STORE_S + 2 * expand(of).adapters[0].nbytes / STORE_BYTES_PER_S
    alone_s = expand(of).adapters[0].nbytes / PCIE_BYTES_PER_S
    assert one.adapter_wait_s == pytest.approx(fetch_s + WARM_S, abs=3 * alone_s)
    assert other.adapter_wait_s == pytest.approx(one.adapter_wait_s)


def test_requests_that_want_the_same_adapter_share_one_load() -> None:
    finished = run(scenario(initial_tier="store"), [Ask(0.1 * i, 0) for i in range(5)])
    stats = finished.schedulers[0].tiers.stats
    assert (stats.loads, stats.lookups, stats.evictions) == (1, 5, 0)
    assert stats.loaded_bytes == expand(small_scenario()).adapters[0].nbytes
    hot_at = {r.arrival_s + r.adapter_wait_s for r in finished.requests}
    assert max(hot_at) == pytest.approx(min(hot_at))


def test_evicted_from_the_gpu_an_adapter_is_still_in_host_memory() -> None:
    of = scenario(hot={"max_adapters": 1}, initial_tier="store")
    finished = run(of, [Ask(10.0 * i, adapter) for i, adapter in enumerate((0, 1, 0))])
    assert sources(finished) == ["store", "store", "warm"]
    assert finished.requests[2].adapter_wait_s == pytest.approx(hot_copy_s(of))
    assert finished.schedulers[0].tiers.stats.evictions == 2


def test_where_host_memory_keeps_nothing_the_disk_does() -> None:
    of = scenario(hot={"max_adapters": 1}, warm={"capacity_gb": 0.0}, initial_tier="store")
    finished = run(of, [Ask(10.0 * i, adapter) for i, adapter in enumerate((0, 1, 0))])
    assert sources(finished) == ["store", "store", "nvme"]


def test_where_nothing_below_the_gpu_keeps_it_the_store_is_asked_again() -> None:
    of = scenario(
        hot={"max_adapters": 1},
        warm={"capacity_gb": 0.0},
        nvme={"capacity_gb": 0.0},
        initial_tier="store",
    )
    finished = run(of, [Ask(10.0 * i, adapter) for i, adapter in enumerate((0, 1, 0, 0))])
    assert sources(finished) == ["store", "store", "store", "hot"]


def test_max_cpu_loras_bounds_host_memory_by_count() -> None:
    of = scenario(
        {"max_cpu_loras": 2},
        hot={"max_adapters": 1},
        nvme={"capacity_gb": 0.0},
        initial_tier="store",
    )
    finished = run(of, [Ask(10.0 * i, adapter) for i, adapter in enumerate((0, 1, 2, 1, 0))])
    assert sources(finished) == ["store", "store", "store", "warm", "store"]


def test_what_does_not_fit_into_the_initial_tier_lies_one_below() -> None:
    nbytes = expand(small_scenario()).adapters[0].nbytes
    of = scenario(warm={"capacity_gb": 2.5 * nbytes / 1e9}, initial_tier="warm")
    finished = run(of, [Ask(10.0 * adapter, adapter) for adapter in range(4)])
    assert sources(finished)[:2] == ["warm", "warm"]
    assert sources(finished)[2:] == ["nvme", "nvme"]


# --- cold starts ---------------------------------------------------------------------------


def test_while_an_adapter_is_cold_the_base_model_may_answer() -> None:
    of = scenario(cold_start="base_model", initial_tier="nvme")
    finished = run(of, [Ask(0.0, 0), Ask(0.2, 0), Ask(10.0, 0)])
    assert [r.base_fallback for r in finished.requests] == [True, True, False]
    assert [r.adapter_wait_s for r in finished.requests[:2]] == [0.0, 0.0]
    assert finished.requests[0].first_token_s == pytest.approx(0.1)
    assert sources(finished) == ["nvme", "nvme", "warm"]  # fetched meanwhile, once


def test_or_the_request_is_rejected_and_the_adapter_fetched_for_the_next() -> None:
    of = scenario(cold_start="reject", initial_tier="nvme")
    first, second = run(of, [Ask(0.0, 0), Ask(10.0, 0)]).requests
    assert (first.status, first.reason, first.finish_s) == (REJECTED, "cold_start", 0.0)
    assert second.finish_s == pytest.approx(10.0 + hot_copy_s(of) + 0.1)


# --- loads and steps -----------------------------------------------------------------------


def test_an_overlapped_load_leaves_the_running_steps_alone() -> None:
    """Asked for at 0.55, the load begins at the boundary of 0.6 and ends at 0.85."""
    decoding, loading = run(scenario(), [Ask(0.0, -1, 10, 20), Ask(0.55, 0)]).requests
    assert decoding.finish_s == pytest.approx(2.0)
    assert loading.adapter_wait_s == pytest.approx(0.3, abs=1e-3)
    assert loading.queue_s == pytest.approx(0.05, abs=1e-3)
    assert loading.first_token_s == pytest.approx(1.0)


def test_a_blocking_load_prolongs_the_step_of_everybody() -> None:
    of = scenario({"adapter_loading": "blocking"})
    decoding, loading = run(of, [Ask(0.0, -1, 10, 20), Ask(0.55, 0)]).requests
    assert decoding.finish_s == pytest.approx(2.0 + hot_copy_s(of))
    assert loading.adapter_wait_s == pytest.approx(0.05 + hot_copy_s(of))
    assert loading.prefill_s == pytest.approx(0.1)
    assert_phases_add_up([decoding, loading])


def test_blocking_loads_of_one_step_come_one_after_the_other() -> None:
    of = scenario({"adapter_loading": "blocking"})
    finished = run(of, [Ask(0.0, adapter) for adapter in range(3)])
    assert finished.requests[0].finish_s == pytest.approx(3 * hot_copy_s(of) + 0.1)


def test_a_blocking_engine_reads_from_disk_itself_and_once_only() -> None:
    """Everybody waits for the disk too; evicted from its slot, the adapter is in host memory."""
    of = scenario({"adapter_loading": "blocking"} | slots(1), initial_tier="nvme")
    disk_s = NVME_S + expand(of).adapters[0].nbytes / NVME_BYTES_PER_S
    decoding, first, _, again = run(
        of, [Ask(0.0, -1, 10, 80), Ask(0.55, 0), Ask(3.0, 1), Ask(5.0, 0)]
    ).requests
    assert first.adapter_wait_s == pytest.approx(0.05 + disk_s + hot_copy_s(of), abs=1e-6)
    assert again.adapter_wait_s < 0.1 + hot_copy_s(of)
    assert decoding.finish_s == pytest.approx(8.0 + 2 * disk_s + 3 * hot_copy_s(of))
    assert sources(run(of, [Ask(0.0, 0), Ask(9.0, 0)])) == ["nvme", "hot"]


# --- slots ---------------------------------------------------------------------------------


def test_a_request_whose_adapter_finds_no_slot_is_skipped_over() -> None:
    """One slot: the second adapter waits until the first is idle, and those who use the first pass
    by in the meantime."""
    of = scenario(slots(1))
    first, other, passing = run(of, [Ask(0.0, 0, 10, 30), Ask(0.5, 1), Ask(1.0, 0, 10, 5)]).requests
    assert passing.first_token_s < first.finish_s < other.first_token_s
    assert passing.queue_s < 0.1
    assert other.adapter_wait_s > first.finish_s - 0.5


def test_with_a_slot_for_each_nobody_is_skipped() -> None:
    of = scenario(slots(2))
    first, other = run(of, [Ask(0.0, 0, 10, 30), Ask(0.5, 1)]).requests
    assert other.finish_s < first.finish_s


def test_the_slot_of_the_longest_unused_adapter_is_taken() -> None:
    order = (0, 1, 0, 2, 0, 1)
    finished = run(scenario(slots(2)), [Ask(5.0 * i, a) for i, a in enumerate(order)])
    assert sources(finished) == ["warm", "warm", "hot", "warm", "hot", "warm"]


def test_a_pinned_adapter_once_hot_stays_hot() -> None:
    of = scenario(
        tenants=[{"name": "pro", "tier": "gold"}, {"name": "free", "count": 5}],
        hot={"max_adapters": 2, "pinned_tiers": ["gold"]},
    )
    finished = run(of, [Ask(5.0 * i, a) for i, a in enumerate((0, 1, 2, 3, 4, 5, 0))])
    assert sources(finished)[-1] == "hot"
    assert finished.schedulers[0].tiers.stats.evictions == 4


# --- adapters in the pool --------------------------------------------------------------------


def test_an_idle_adapter_gives_its_pages_to_a_prompt_that_needs_them() -> None:
    of = scenario({"max_model_len": 512})
    plan = plan_memory(expand(of), 0)
    adapter_pages = plan.adapter_pages(expand(of).adapters[0].parameters)
    tight = with_pool(of, adapter_pages + 32 * plan.block_pages)
    finished = run(tight, [Ask(0.0, 0), Ask(5.0, 1), Ask(10.0, 2), Ask(15.0, -1, 500, 12)])
    stats = finished.schedulers[0].tiers.stats
    assert stats.loads == 3
    assert stats.evictions >= 1
    assert finished.requests[3].queue_s == 0.0
    finished.schedulers[0].memory.check()


def test_an_adapter_in_use_is_never_evicted_for_a_prompt() -> None:
    of = scenario({"max_model_len": 512})
    plan = plan_memory(expand(of), 0)
    adapter_pages = plan.adapter_pages(expand(of).adapters[0].parameters)
    tight = with_pool(of, adapter_pages + 32 * plan.block_pages)
    using, long = run(tight, [Ask(0.0, 0, 10, 40), Ask(1.0, -1, 500, 12)]).requests
    assert long.arrival_s + long.queue_s == pytest.approx(using.finish_s)
