"""A transfer that fails is tried again; a load that is given up fails those who wait for it."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.adapter_state import AdapterState
from simlora.serving.loading import DISK, NETWORK, PCIE, Transfer
from simlora.serving.request import COMPLETED, FAILED, REJECTED
from simlora.sim.faults import LoadFaults
from tests.simulating import Ask, phases_s, run
from tests.unit.serving.adapter_stories import (
    COPY_S,
    DOWNLOAD_S,
    READ_S,
    STEP_S,
    facts,
    recorded,
    scenario,
    sources,
    stats,
)

ALL_FAIL = {"failure_rate": 1.0, "retries": 2, "backoff_s": 0.5}
GIVEN_UP_S = 3 * DOWNLOAD_S + 0.5 + 1.0
TENANTS = "tenant-{:04d}"


def transfer(adapter: int, link: int = NETWORK) -> Transfer:
    return Transfer(AdapterState(adapter, 1, 2, 1, False), link, 0.0, 2)


def faults(rate: float, seed: int = 0, replica: int = 0, **adapters: Any) -> LoadFaults:
    of = scenario(seed=seed, loading={"failure_rate": rate}, **adapters)
    return LoadFaults(expand(of), replica)


def failing(first: list[bool], **adapters: Any) -> Scenario:
    """A scenario in which the first transfers of adapter 0 fail or not, as given."""
    loading = {"failure_rate": 0.5, "backoff_s": 0.5}
    for seed in count():
        of = scenario(seed=seed, loading=loading, **adapters)
        drawn = LoadFaults(expand(of), 0)
        if [drawn.fails(transfer(0)) for _ in first] == first:
            return of
    raise AssertionError


# --- tried again ---------------------------------------------------------------------------


def test_a_transfer_is_tried_again_after_a_while_that_doubles() -> None:
    of = failing([True, True, True, False], initial_tier="store")
    finished = run(of, [Ask(0.0, 0)])
    (request,) = finished.requests
    assert request.status == COMPLETED
    assert request.adapter_wait_s == pytest.approx(4 * DOWNLOAD_S + 0.5 + 1 + 2 + COPY_S)
    assert (stats(finished).transfers_failed, stats(finished).loads_given_up) == (3, 0)
    assert stats(finished).loads == 1
    terms = facts(of, finished).load_terms_s
    assert terms["backoff"] == pytest.approx(3.5)
    assert sum(terms.values()) == pytest.approx(request.adapter_wait_s)
    assert phases_s(request) == pytest.approx(request.finish_s)


def test_after_a_bad_copy_on_disk_the_store_is_asked_and_the_disk_has_a_good_one() -> None:
    of = failing([True, False, False], initial_tier="nvme", warm={"capacity_gb": 0.0})
    of = of.with_overrides({"adapters.hot.max_adapters": 1})
    finished = run(of, [Ask(0.0, 0), Ask(20.0, 1), Ask(40.0, 0)])
    first, _, again = finished.requests
    assert first.adapter_wait_s == pytest.approx(READ_S + 0.5 + DOWNLOAD_S + COPY_S)
    assert again.adapter_wait_s == pytest.approx(READ_S + COPY_S)


def test_without_backoff_or_retries_there_is_neither() -> None:
    loading = {"failure_rate": 1.0, "retries": 0, "backoff_s": 0}
    finished = run(scenario(loading=loading, initial_tier="store"), [Ask(0.0, 0)])
    (request,) = finished.requests
    assert (request.status, request.finish_s) == (FAILED, pytest.approx(DOWNLOAD_S))
    assert (stats(finished).transfers_failed, stats(finished).loads_given_up) == (1, 1)


# --- given up ------------------------------------------------------------------------------


def test_a_load_given_up_fails_all_who_wait_for_it_at_once() -> None:
    of = scenario(loading=ALL_FAIL, initial_tier="store")
    finished = run(of, [Ask(0.0, 0), Ask(DOWNLOAD_S + 0.1, 0), Ask(GIVEN_UP_S - 0.1, 0)])
    for request in finished.requests:
        assert (request.status, request.reason) == (FAILED, "adapter_load")
        assert request.finish_s == pytest.approx(GIVEN_UP_S)
        assert request.adapter_wait_s == pytest.approx(GIVEN_UP_S - request.arrival_s)
        assert phases_s(request) == pytest.approx(request.finish_s - request.arrival_s)
        assert request.first_token_s == -1.0
    assert (stats(finished).transfers_failed, stats(finished).loads_given_up) == (3, 1)
    assert facts(of, finished).load_terms_s["backoff"] == pytest.approx(1.5)


def test_only_those_who_wait_for_a_corrupt_adapter_fail() -> None:
    loading = {"corrupt": [TENANTS.format(2)], "retries": 2, "backoff_s": 0.5}
    of = scenario(loading=loading, initial_tier="nvme")
    finished = run(of, [Ask(0.0, a) for a in (0, 1, 2, 3, -1)])
    assert [r.status for r in finished.requests] == [COMPLETED] * 2 + [FAILED] + [COMPLETED] * 2
    # The file on disk was no better than the one in the store.
    bad = finished.requests[2]
    assert bad.finish_s > READ_S + 0.5 + DOWNLOAD_S + 1.0 + DOWNLOAD_S
    assert stats(finished).transfers_failed == 3
    assert finished.requests[4].finish_s == pytest.approx(STEP_S)


def test_a_corrupt_adapter_does_not_begin_in_host_memory() -> None:
    """A server would have found out when it read it."""
    of = scenario(loading={"corrupt": [TENANTS.format(0)]})
    finished = run(of, [Ask(0.0, 0), Ask(0.0, 1)])
    assert [request.status for request in finished.requests] == [FAILED, COMPLETED]
    assert stats(finished).transfers_failed > 0


def test_who_comes_after_a_load_was_given_up_tries_anew() -> None:
    of = scenario(loading=ALL_FAIL, initial_tier="store")
    finished = run(of, [Ask(0.0, 0), Ask(GIVEN_UP_S + 1, 0)])
    later = finished.requests[1]
    assert later.finish_s - later.arrival_s == pytest.approx(GIVEN_UP_S)
    assert (stats(finished).transfers_failed, stats(finished).loads_given_up) == (6, 2)
    spared = failing([True, True, True, True, False], initial_tier="store")
    statuses = [r.status for r in run(spared, [Ask(0.0, 0), Ask(60.0, 0)]).requests]
    assert statuses == [FAILED, COMPLETED]


def test_a_failed_load_ends_the_run_though_nothing_else_goes_on() -> None:
    finished = run(scenario(loading=ALL_FAIL, initial_tier="store"), [Ask(0.0, 0)])
    assert finished.simulation.env.now == pytest.approx(GIVEN_UP_S)
    assert finished.schedulers[0].outstanding == 0


def test_a_request_that_failed_after_it_was_preempted_is_booked_to_the_end() -> None:
    """Preempted, its adapter evicted everywhere, and not to be had again."""
    of = failing([False, True, True, True, True], initial_tier="store")
    of = of.with_overrides(
        {
            "engine.memory.mode": "slots",
            "engine.memory.max_loras": 1,
            "engine.memory.max_lora_rank": 16,
            "adapters.hot.when_full": "preempt",
            "adapters.warm.capacity_gb": 0.0,
            "adapters.nvme.capacity_gb": 0.0,
        }
    )
    # Adapter 1 is waited for from 1 s on; adapter 0 is hot at about 3.5 s, and then overtakes it.
    finished = run(of, [Ask(0.0, 0), Ask(1.0, 1), Ask(3.45, 0, 10, 100)])
    late = finished.requests[2]
    assert (late.status, late.preemptions) == (FAILED, 1)
    assert late.emitted_tokens > 0
    assert phases_s(late) == pytest.approx(late.finish_s - late.arrival_s)


def test_with_a_cold_start_that_does_not_wait_nobody_fails_with_a_load() -> None:
    loading = {"failure_rate": 1.0, "retries": 1}
    asks = [Ask(0.0, 0), Ask(30.0, 0)]
    on_base = run(scenario(loading=loading, cold_start="base_model", initial_tier="store"), asks)
    assert [r.status for r in on_base.requests] == [COMPLETED] * 2
    assert stats(on_base).loads_given_up >= 1
    turned_away = run(scenario(loading=loading, cold_start="reject", initial_tier="store"), asks)
    assert [r.status for r in turned_away.requests] == [REJECTED] * 2


def test_a_blocking_engine_tries_again_too() -> None:
    of = failing([True, False], initial_tier="nvme").with_overrides(
        {"engine.adapter_loading": "blocking"}
    )
    (request,) = run(of, [Ask(0.0, 0)]).requests
    assert request.adapter_wait_s == pytest.approx(READ_S + 0.5 + DOWNLOAD_S + COPY_S)


def test_results_take_requests_that_failed(tmp_path: Path) -> None:
    loading = {"corrupt": [TENANTS.format(1)], "retries": 0}
    of = scenario(loading=loading, initial_tier="store")
    result = recorded(of, [Ask(0.0, 0), Ask(0.0, 1)], tmp_path)
    assert result.summary["requests"]["failed"] == 1
    assert result.summary["adapters"]["transfers_failed"] == 1
    assert result.summary["adapters"]["loads_given_up"] == 1
    rows = result.requests.set_index("request")
    assert list(rows["status"][[0, 1]]) == ["completed", "failed"]
    assert rows["reason"][1] == "adapter_load"
    assert rows["e2e_s"].isna()[1]
    assert rows["ttft_s"].isna()[1]
    assert rows["finish_s"][1] > DOWNLOAD_S


# --- which fail ----------------------------------------------------------------------------


def test_the_nth_transfer_of_an_adapter_fails_by_the_seed_alone() -> None:
    plain, mixed = faults(0.4), faults(0.4, cold_start="reject", store={"latency_s": 9.0})
    expected = {a: [plain.fails(transfer(a)) for _ in range(50)] for a in range(4)}
    met: dict[int, list[bool]] = {a: [] for a in range(4)}
    for turn in range(50):  # in turns, over either link, with copies to the GPU between
        for adapter in (3, 1, 0, 2):
            link = DISK if turn % 3 else NETWORK
            met[adapter].append(mixed.fails(transfer(adapter, link)))
            assert not mixed.fails(transfer(adapter, PCIE))
    assert met == expected
    assert len({tuple(of_one) for of_one in expected.values()}) == 4


def test_with_a_higher_rate_all_that_failed_still_fail() -> None:
    low, high = faults(0.1), faults(0.3)
    for _ in range(500):
        assert high.fails(transfer(0)) >= low.fails(transfer(0))


def test_another_seed_or_replica_meets_other_faults() -> None:
    def draw(of: LoadFaults) -> list[bool]:
        return [of.fails(transfer(0)) for _ in range(64)]

    assert draw(faults(0.5)) == draw(faults(0.5))
    assert draw(faults(0.5)) != draw(faults(0.5, seed=1))
    assert draw(faults(0.5)) != draw(faults(0.5, replica=1))


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 1.0])
def test_transfers_fail_at_the_rate(rate: float) -> None:
    """Within four standard deviations, over adapters and over one adapter's transfers."""
    drawn = 20_000
    of = faults(rate)
    deviations = 4 * (rate * (1 - rate) / drawn) ** 0.5
    for adapter_of in (lambda n: 0, lambda n: n % 1000):
        failed = sum(of.fails(transfer(adapter_of(n))) for n in range(drawn))
        assert abs(failed / drawn - rate) <= deviations


def test_scenarios_that_differ_elsewhere_meet_the_same_faults() -> None:
    """A slower store loses the same transfers as a fast one."""
    asks = [Ask(100.0 * i, i % 4) for i in range(40)]
    failed = []
    for latency_s in (0.1, 3.0):
        of = scenario(
            store={"latency_s": latency_s},
            nvme={"capacity_gb": 0.0},
            warm={"capacity_gb": 0.0},
            hot={"max_adapters": 1},
            loading={"failure_rate": 0.4, "retries": 1},
            initial_tier="store",
        )
        finished = run(of, asks)
        assert set(sources(finished)) == {"store"}
        failed.append([request.status == FAILED for request in finished.requests])
    assert failed[0] == failed[1]
    assert 0 < sum(failed[0]) < 40
