"""Exclusive tiers: what moves up leaves nothing behind, and comes back down when it is evicted."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.schema import Scenario
from simlora.serving.adapter_state import HOSTED, NOT_HOSTED
from tests.simulating import Ask, Finished, run
from tests.unit.serving.adapter_stories import (
    COPY_S,
    DOWNLOAD_S,
    READ_S,
    room_for,
    scenario,
    sources,
    stats,
)


def exclusive(
    *tiers: str, warm: float = 100, nvme: float = 100, hot: int = 1, **adapters: Any
) -> Scenario:
    """One adapter hot, so many in host memory and on disk."""
    return scenario(
        hot={"max_adapters": hot},
        warm={"inclusive": "warm" not in tiers, "capacity_gb": room_for(warm)},
        nvme={"inclusive": "nvme" not in tiers, "capacity_gb": room_for(nvme)},
        **adapters,
    )


def where(finished: Finished, adapter: int) -> tuple[bool, bool, bool]:
    """Whether the adapter is in GPU memory, host memory and on disk."""
    tiers = finished.schedulers[0].tiers
    lower = tiers.lower
    assert (tiers.state(adapter).host == HOSTED) == (adapter in lower.warm)
    assert tiers.state(adapter).host in (HOSTED, NOT_HOSTED)
    return tiers.is_hot(adapter), adapter in lower.warm, adapter in lower.nvme


@pytest.mark.parametrize(
    ("tiers", "warm", "nvme"),
    [
        ((), True, True),
        (("warm",), False, True),
        (("nvme",), True, False),
        (("warm", "nvme"), 0, 0),
    ],
)
def test_a_load_leaves_a_copy_in_inclusive_tiers_only(
    tiers: tuple[str, ...], warm: bool, nvme: bool
) -> None:
    for initial in ("warm", "nvme", "store"):
        finished = run(exclusive(*tiers, initial_tier=initial), [Ask(0.0, 0)])
        assert where(finished, 0) == (True, warm, nvme), initial


def test_evicted_from_the_gpu_an_adapter_is_back_in_exclusive_host_memory() -> None:
    of = exclusive("warm", nvme=0, initial_tier="store")
    finished = run(of, [Ask(20.0 * i, a) for i, a in enumerate((0, 1, 0))])
    assert sources(finished) == ["store", "store", "warm"]
    assert finished.requests[2].adapter_wait_s == pytest.approx(COPY_S)
    assert where(finished, 1) == (False, True, False)
    assert where(finished, 0) == (True, False, False)


def test_exclusive_host_memory_has_room_for_one_more_than_inclusive() -> None:
    """One hot and one warm: two adapters in turns, each found warm."""
    asks = [Ask(20.0 * i, i % 2) for i in range(6)]
    inclusive = run(exclusive(warm=1, nvme=0, initial_tier="store"), asks)
    assert sources(inclusive) == ["store"] * 6
    both = run(exclusive("warm", warm=2, nvme=0, initial_tier="store"), asks)
    assert sources(both) == ["store"] * 2 + ["warm"] * 4


def test_evicted_from_host_memory_an_adapter_is_back_on_an_exclusive_disk() -> None:
    """Three adapters through one place in host memory."""
    of = exclusive("nvme", warm=1, initial_tier="store")
    finished = run(of, [Ask(20.0 * i, a) for i, a in enumerate((0, 1, 2, 0, 1, 2))])
    assert sources(finished) == ["store"] * 3 + ["nvme"] * 3
    assert where(finished, 2) == (True, True, False)
    assert where(finished, 0) == (False, False, True)
    assert finished.requests[3].adapter_wait_s == pytest.approx(READ_S + COPY_S)


def test_what_comes_down_and_finds_host_memory_taken_goes_to_the_exclusive_disk() -> None:
    """The only place in host memory is that of the adapter on its way up."""
    of = exclusive("warm", "nvme", warm=1, initial_tier="store")
    finished = run(of, [Ask(20.0 * i, a) for i, a in enumerate((0, 1, 0, 1))])
    assert sources(finished) == ["store", "store", "nvme", "nvme"]
    assert where(finished, 0) == (False, False, True)


def test_what_leaves_host_memory_by_its_time_goes_to_the_exclusive_disk() -> None:
    of = exclusive("nvme", initial_tier="store").with_overrides({"adapters.warm.eviction": "ttl-5"})
    finished = run(of, [Ask(0.0, 0), Ask(10.0, 1), Ask(20.0, 0)])
    assert sources(finished) == ["store", "store", "nvme"]


def test_where_an_exclusive_disk_is_full_the_store_still_has_it() -> None:
    of = exclusive("warm", "nvme", warm=1, nvme=1, initial_tier="store")
    finished = run(of, [Ask(20.0 * i, i % 4) for i in range(8)])
    assert sources(finished) == ["store"] * 8
    assert [r.adapter_wait_s for r in finished.requests] == pytest.approx([DOWNLOAD_S + COPY_S] * 8)


def test_at_the_start_an_exclusive_disk_has_what_host_memory_has_not() -> None:
    for tiers, on_disk in (((), 4), (("nvme",), 2)):
        finished = run(exclusive(*tiers, warm=2, initial_tier="warm"), [Ask(0.0, -1)])
        lower = finished.schedulers[0].tiers.lower
        assert (len(lower.warm), len(lower.nvme)) == (2, on_disk)


@pytest.mark.parametrize("tiers", [("warm",), ("nvme",), ("warm", "nvme")])
def test_adapters_on_their_way_up_and_down_are_in_one_place_each(tiers: tuple[str, ...]) -> None:
    """Requests that overlap, in little memory; in the end each adapter is where it was last put,
    and nowhere twice."""
    of = exclusive(*tiers, warm=1, nvme=2, hot=2, initial_tier="nvme")
    finished = run(of, [Ask(1.7 * i, (i * i) % 4, 10, 8) for i in range(30)])
    assert stats(finished).lookups == 30
    for adapter in range(4):
        hot, warm, nvme = where(finished, adapter)
        assert not (hot and warm and "warm" in tiers)
        assert not (warm and nvme and "nvme" in tiers)
    finished.schedulers[0].memory.check()
