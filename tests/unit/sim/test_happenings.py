"""What goes wrong at its time goes right again at its end."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.serving.memory import plan_memory
from tests.simulating import Finished, with_pool
from tests.unit.serving.adapter_stories import COPY_S, DOWNLOAD_S, READ_S, stats
from tests.unit.sim.failing import Ask, outcomes, story, tell


def slow(at_s: float, duration_s: float, factor: float, replica: int = 0) -> dict[str, Any]:
    return {"slow_gpu": replica, "at_s": at_s, "duration_s": duration_s, "factor": factor}


def only(finished: Finished) -> float:
    """When the only request was done."""
    (request,) = finished.requests
    return request.finish_s


# --- slow GPUs -----------------------------------------------------------------------------


def test_steps_are_slow_from_the_next_boundary_until_the_boundary_after_its_end() -> None:
    """Slow at 0.25 s: the third step ends at 0.3 s as planned. Then steps of 0.3 s, to 0.6 and
    0.9 s; at 0.8 s the GPU is quick again, and the other five steps take 0.1 s."""
    finished = tell(story(slow(0.25, 0.55, 3.0)), Ask(0.0, output_tokens=10))
    assert only(finished) == pytest.approx(0.3 + 0.6 + 0.5)
    busy_s = finished.simulation.replicas[0].busy_s
    assert busy_s == pytest.approx(1.4)


def test_step_by_step_it_is_the_same() -> None:
    scenario = story(slow(0.25, 0.55, 3.0), run__fast_forward=False)
    assert only(tell(scenario, Ask(0.0, output_tokens=10))) == pytest.approx(1.4)


def test_slownesses_that_overlap_multiply() -> None:
    """From 0.05 s 2, from 0.45 s 6, from 0.9 s 3 times as slow: steps end at 0.1, 0.3, 0.5, 1.1
    and 1.4 s."""
    both = slow(0.05, 0.85, 2.0), slow(0.45, 5.0, 3.0)
    assert only(tell(story(*both), Ask(0.0, output_tokens=5))) == pytest.approx(1.4)


def test_after_all_of_it_the_gpu_is_exactly_as_quick_as_before() -> None:
    factors = [1.1, 1.3, 1.7, 19.0, 999.9]
    several = [slow(0.1 * i, 0.3 + 0.07 * i, factor) for i, factor in enumerate(factors)]
    finished = tell(story(*several), Ask(0.0), Ask(5000.0))
    assert finished.simulation.fleet.members[0].slowness == 1.0
    last = finished.requests[-1]
    assert last.prefill_s == 5000.1 - 5000.0


def test_a_factor_of_one_changes_nothing() -> None:
    finished = tell(story(slow(0.25, 0.1, 1.0)), Ask(0.0, output_tokens=10))
    assert only(finished) == pytest.approx(1.0)


def test_a_slow_gpu_is_slow_after_a_crash() -> None:
    """Back at 0.5 s; slow until 10 s."""
    crash = {"crash": 0, "at_s": 0.25, "duration_s": 0.25}
    finished = tell(story(crash, slow(0.0, 10.0, 3.0)), Ask(0.6))
    assert only(finished) == pytest.approx(0.9)


def test_a_gpu_that_recovers_while_its_replica_is_down_comes_back_quick() -> None:
    crash = {"crash": 0, "at_s": 0.25, "duration_s": 1.0}
    finished = tell(story(crash, slow(0.0, 0.5, 3.0)), Ask(0.6))
    assert only(finished) == pytest.approx(1.35)


def test_the_other_replica_is_as_quick_as_ever() -> None:
    finished = tell(story(slow(0.0, 9.0, 3.0, replica=1), replicas=2), Ask(0.1), Ask(0.1))
    assert [request.finish_s for request in finished.requests] == pytest.approx([0.2, 0.4])


# --- the store and damaged files -----------------------------------------------------------


def outage(at_s: float, duration_s: float) -> dict[str, Any]:
    return {"store_outage": True, "at_s": at_s, "duration_s": duration_s}


def test_a_transfer_that_would_end_in_an_outage_fails_and_is_tried_again() -> None:
    loading = {"retries": 3, "backoff_s": 1.0}
    scenario = story(
        outage(DOWNLOAD_S - 0.1, 0.2), adapters={"initial_tier": "store", "loading": loading}
    )
    finished = tell(scenario, Ask(0.0, adapter=0))
    (request,) = finished.requests
    assert request.adapter_wait_s == pytest.approx(DOWNLOAD_S + 1.0 + DOWNLOAD_S + COPY_S)
    assert stats(finished).transfers_failed == 1


def test_a_transfer_that_begins_in_an_outage_and_ends_after_it_is_good() -> None:
    scenario = story(outage(0.0, DOWNLOAD_S - 0.1), adapters={"initial_tier": "store"})
    finished = tell(scenario, Ask(0.0, adapter=0))
    assert finished.requests[0].adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S)


def test_of_overlapping_outages_the_last_to_end_counts() -> None:
    both = outage(0.0, 0.1), outage(0.05, DOWNLOAD_S)
    adapters = {"initial_tier": "store", "loading": {"retries": 0}}
    assert outcomes(tell(story(*both, adapters=adapters), Ask(0.0, adapter=0))) == [
        "failed: adapter_load"
    ]


def test_when_all_tries_fail_so_does_the_request_and_the_next_one_is_served() -> None:
    adapters = {"initial_tier": "store", "loading": {"retries": 1, "backoff_s": 1.0}}
    given_up_s = DOWNLOAD_S + 1.0 + DOWNLOAD_S
    scenario = story(outage(0.0, given_up_s + 0.1), adapters=adapters)
    finished = tell(scenario, Ask(0.0, adapter=0), Ask(given_up_s + 1.0, adapter=0))
    failed, served = finished.requests
    assert outcomes(finished) == ["failed: adapter_load", "completed"]
    assert failed.finish_s == failed.adapter_wait_s == pytest.approx(given_up_s)
    assert served.adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S)


def test_disk_and_memory_need_no_store() -> None:
    scenario = story(outage(0.0, 100.0), adapters={"initial_tier": "nvme"})
    finished = tell(scenario, Ask(0.0, adapter=0), Ask(5.0, adapter=0))
    waits_s = [request.adapter_wait_s for request in finished.requests]
    assert waits_s == [pytest.approx(READ_S + COPY_S), 0.0]


def test_a_damaged_file_fails_while_it_is_damaged_and_copies_in_memory_are_good() -> None:
    """Adapter 0 is hot before the damage; adapter 1 is on disk: its copy there is no good, nor is
    that of the store, until 20 s."""
    corrupt = [
        {"corrupt_adapter": f"tenant-000{tenant}", "at_s": 3.0, "duration_s": 17.0}
        for tenant in (0, 1)
    ]
    adapters = {"initial_tier": "nvme", "loading": {"retries": 1, "backoff_s": 0.5}}
    asks = [Ask(0.0, 0), Ask(4.0, 0), Ask(4.0, 1), Ask(4.0, 2), Ask(21.0, 1)]
    finished = tell(story(*corrupt, adapters=adapters), *asks)
    assert outcomes(finished) == [
        "completed",
        "completed",
        "failed: adapter_load",
        "completed",
        "completed",
    ]
    hot, failed, other, again = finished.requests[1:]
    assert hot.adapter_wait_s == 0
    # Two reads share the disk.
    assert failed.finish_s - 4.0 > READ_S + 0.5 + DOWNLOAD_S
    assert other.adapter_wait_s < 2 * READ_S + COPY_S + 1e-9
    assert again.adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S)  # its disk has no copy


def test_a_copy_in_host_memory_is_good_while_the_file_is_damaged() -> None:
    corrupt = {"corrupt_adapter": "tenant-0000", "at_s": 0.0, "duration_s": 9.0}
    finished = tell(story(corrupt), Ask(0.1, 0))
    assert outcomes(finished) == ["completed"]
    assert finished.requests[0].adapter_wait_s == pytest.approx(COPY_S)


# --- leaks ---------------------------------------------------------------------------------


def leak(pages_per_s: float, duration_s: float, at_s: float = 0.0) -> dict[str, Any]:
    gb_per_s = pages_per_s * page_bytes() / 1e9
    return {"pool_leak": 0, "at_s": at_s, "duration_s": duration_s, "gb_per_s": gb_per_s}


def page_bytes() -> int:
    return plan_memory(expand(story()), 0).page_bytes


def lost_pages(finished: Finished) -> list[int]:
    return [scheduler.leak.lost for scheduler in finished.schedulers]


def test_a_leak_takes_pages_at_its_rate_until_it_is_mended() -> None:
    """Of 100.5 pages a second for 2.5 s: 251, seen at a step boundary."""
    finished = tell(story(leak(100.5, 2.5)), Ask(0.0, output_tokens=100))
    assert lost_pages(finished) == [251]
    pool = finished.schedulers[0].memory.pool
    pool.check()
    assert pool.pages == plan_memory(expand(story()), 0).pool_pages - 251


def test_a_leak_of_less_than_a_page_a_second_adds_up() -> None:
    finished = tell(story(leak(0.35, 10.0)), Ask(0.0, output_tokens=150))
    assert lost_pages(finished) == [3]


def test_only_a_crash_gives_it_back() -> None:
    crash = {"crash": 0, "at_s": 5.0, "duration_s": 1.0}
    finished = tell(story(leak(100, 2.0), crash), Ask(0.0, output_tokens=30), Ask(7.0))
    assert lost_pages(finished) == [200, 0]
    pages = plan_memory(expand(story()), 0).pool_pages
    assert [scheduler.memory.pool.pages for scheduler in finished.schedulers] == [
        pages - 200,
        pages,
    ]


def test_a_leak_goes_on_after_a_crash_but_not_while_nothing_runs() -> None:
    """Lumps at 1, 2, 3 and 4 s; down from 1.5 to 2.5 s."""
    crash = {"crash": 0, "at_s": 1.5, "duration_s": 1.0}
    finished = tell(story(leak(100, 4.0), crash), Ask(0.0, output_tokens=100))
    assert lost_pages(finished) == [100, 200]


@pytest.mark.parametrize("pinned", [[], ["standard"]])
def test_one_request_of_the_greatest_length_can_always_run(pinned: list[str]) -> None:
    """All but that is lost within a second."""
    scenario = story(leak(1e9, 5.0), adapters={"hot": {"pinned_tiers": pinned}})
    longest = [Ask(0.1, adapter, 4000, 96) for adapter in range(4)]
    finished = tell(scenario, *longest, *[Ask(200.0, adapter, 3000, 50) for adapter in range(4)])
    assert outcomes(finished) == ["completed"] * 8
    assert finished.schedulers[0].leak.pending == 0
    plan = plan_memory(expand(scenario), 0)
    adapter_pages = plan.adapter_pages(expand(scenario).adapters[0].parameters)
    request_pages = 4096 // plan.block_tokens * plan.block_pages
    left = finished.schedulers[0].memory.pool.pages
    assert left == request_pages + adapter_pages * (5 if pinned else 1)


def test_where_there_is_just_enough_nothing_leaks() -> None:
    plan = plan_memory(expand(story()), 0)
    pages = 4096 // plan.block_tokens * plan.block_pages
    pages += plan.adapter_pages(expand(story()).adapters[0].parameters)
    finished = tell(with_pool(story(leak(1e6, 5.0)), pages), Ask(0.0, 0, 4000, 96))
    assert outcomes(finished) == ["completed"]
    assert lost_pages(finished)[0] <= 1  # `with_pool` may leave one page more


def test_a_leak_takes_what_is_only_cached() -> None:
    """A prefix and an idle adapter fill the pool; all but one request's need is lost."""
    asks = [
        Ask(0.0, 0, 320, 1, hashes=tuple(range(20))),
        Ask(5.0, 0, 321, 1, hashes=tuple(range(20))),
    ]
    finished = tell(story(leak(1e9, 1.0, at_s=1.0)), *asks)
    memory = finished.schedulers[0].memory
    memory.check()
    assert memory.pool.free == memory.pool.pages - sum(memory.pool.held)
    assert outcomes(finished) == ["completed"] * 2


def test_a_leak_of_one_model_leaves_room_for_its_own_adapters_only() -> None:
    """The other pool's model has adapters of twice the size."""
    scenario = story(leak(1e9, 5.0)).with_overrides(
        {
            "catalog.models": {
                "wide": {"base": "tiny-llama", "num_key_value_heads": 4, "intermediate_size": 11008}
            },
            "fleet": [{"gpu": "mini"}, {"gpu": "mini", "model": "wide"}],
            "tenants": [{"name": "small"}, {"name": "large", "model": "wide"}],
        }
    )
    finished = tell(scenario, Ask(0.0, 0, 10, 70), Ask(0.0, 1, 10, 70))
    deployment = expand(scenario)
    plan = plan_memory(deployment, 0)
    (own,) = deployment.served_by(0)
    request_pages = 4096 // plan.block_tokens * plan.block_pages
    left = finished.schedulers[0].memory.pool.pages
    assert left == request_pages + plan.adapter_pages(own.parameters)
