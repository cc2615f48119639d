"""Cached prefix and adapter against load: real replicas, in the state that a run left them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from simlora.serving.request import Request
from simlora.serving.routing import Score
from simlora.serving.routing.residency import (
    COLD,
    HOT,
    NEARBY,
    adapter_residency,
    cached_share,
    kv_use,
)
from simlora.serving.scheduler import BatchScheduler
from tests.simulating import Ask, run, small_scenario
from tests.unit.serving.routing_fleet import real_replicas, request

PREFIX = (11, 12, 13, 14)  # 64 tokens


class ByLength:
    """Sends requests where the test wants them: the prompt's tokens modulo the replicas."""

    def choose(self, request: Request, replicas: Sequence[Any]) -> int:
        return request.prompt_tokens % len(replicas)


def after(
    *asks: Ask,
    replicas: int = 2,
    isolation: str = "adapter",
    max_adapters: int | None = None,
    engine: dict[str, Any] | None = None,
    workload: dict[str, Any] | None = None,
) -> list[BatchScheduler]:
    """Replicas that have served the asks."""
    scenario = small_scenario(
        fleet=[{"gpu": "mini", "replicas": replicas}],
        gateway={"routing": f"{__name__}:ByLength"},
        engine={"max_model_len": 1024, "prefix_cache": {"isolation": isolation}} | (engine or {}),
        adapters={"hot": {"max_adapters": max_adapters}, "initial_tier": "store"},
        workload={"rate_rps": 1.0} | (workload or {}),
    )
    return run(scenario, asks).schedulers


def to(replica: int, at_s: float, adapter: int, **more: Any) -> Ask:
    """A request that ends up on one of two replicas."""
    return Ask(at_s, adapter, prompt_tokens=100 + replica, **more)


def asked(adapter: int, hashes: Sequence[int] = PREFIX, **more: Any) -> Request:
    return request(adapter, prompt_tokens=100, hashes=list(hashes), **more)


def load(replicas: list[BatchScheduler], *outstanding: int) -> list[BatchScheduler]:
    for replica, count in zip(replicas, outstanding, strict=True):
        replica.outstanding = count
    return replicas


def test_the_cached_prefix_comes_before_the_hot_adapter_alone() -> None:
    """Both have the adapter; the second one has the prompt's prefix, too."""
    replicas = after(to(0, 0.0, 1), to(1, 1.0, 1, hashes=PREFIX))
    assert [adapter_residency(1, replica) for replica in replicas] == [HOT, HOT]
    assert [cached_share(asked(1), replica) for replica in replicas] == [0.0, 0.64]
    assert Score().choose(asked(1), load(replicas, 0, 5)) == 1


def test_the_longer_cached_prefix_wins() -> None:
    replicas = after(to(0, 0.0, 1, hashes=PREFIX[:1]), to(1, 1.0, 1, hashes=PREFIX[:3]))
    assert [cached_share(asked(1), replica) for replica in replicas] == [0.16, 0.48]
    assert Score().choose(asked(1), replicas) == 1


@pytest.mark.parametrize(("cached", "expected"), [(6, 0), (1, 1)])
def test_a_long_prefix_outweighs_a_hot_adapter_and_a_short_one_does_not(
    cached: int, expected: int
) -> None:
    """A prefix that all share is on replica 0; the adapter asked for is hot on replica 1 only."""
    common = tuple(range(6))
    replicas = after(to(0, 0.0, 0, hashes=common[:cached]), to(1, 1.0, 1), isolation="shared")
    assert [adapter_residency(1, replica) for replica in replicas] == [COLD, HOT]
    assert cached_share(asked(1, common), replicas[0]) == cached * 0.16
    for fleet, chosen in ((replicas, expected), (replicas[::-1], 1 - expected)):
        assert Score().choose(asked(1, common), fleet) == chosen


def test_without_a_prefix_the_hot_adapter_then_the_one_in_host_memory_decides() -> None:
    """Adapters 0 and 1 have been on replica 0, which has room for one; nothing on the others."""
    replicas = after(
        Ask(0.0, 0, prompt_tokens=99), Ask(10.0, 1, prompt_tokens=99), replicas=3, max_adapters=1
    )
    assert [adapter_residency(0, r) for r in replicas] == [NEARBY, COLD, COLD]
    assert [adapter_residency(1, r) for r in replicas] == [HOT, COLD, COLD]
    assert Score(slack=4).choose(asked(1), load(replicas, 7, 4, 4)) == 0
    assert Score(slack=4).choose(asked(0), load(replicas, 6, 4, 4)) == 0
    assert Score(slack=4).choose(asked(0), load(replicas, 7, 4, 4)) != 0
    assert Score(slack=4).choose(asked(1), load(replicas, 9, 4, 4)) != 0


@pytest.mark.parametrize(("share", "times"), [(0.0, 2.0), (0.64, 2.96)])
def test_what_is_cached_holds_up_to_a_multiple_of_the_least_load(
    share: float, times: float
) -> None:
    hashes = PREFIX if share else ()
    replicas = after(to(1, 0.0, 1, hashes=hashes))
    assert cached_share(asked(1), replicas[1]) == share
    below, above = int(100 * times) - 1, int(100 * times) + 1
    assert Score().choose(asked(1), load(replicas, 100, below)) == 1
    assert Score().choose(asked(1), load(replicas, 100, above)) == 0


def test_small_queues_are_no_imbalance() -> None:
    replicas = after(to(1, 0.0, 1))
    assert Score(slack=8).choose(asked(1), load(replicas, 0, 7)) == 1
    assert Score(slack=8).choose(asked(1), load(replicas, 0, 9)) == 0


def test_equal_load_is_taken_where_more_kv_is_free() -> None:
    """The run ends while both replicas compute: one a long prompt, one a short one."""
    replicas = after(
        Ask(0.0, prompt_tokens=900, output_tokens=100),
        Ask(0.0, prompt_tokens=101, output_tokens=800),
        Ask(0.05, prompt_tokens=10),
        Ask(0.05, prompt_tokens=11),
        workload={"on_end": "discard"},
    )
    assert [replica.outstanding for replica in replicas] == [2, 2]
    used = [kv_use(replica) for replica in replicas]
    assert 1 > used[0] > used[1] > 0
    assert Score().choose(request(-1), replicas) == 1
    assert Score().choose(request(-1), replicas[::-1]) == 0


def test_what_is_only_cached_does_not_count_as_used() -> None:
    replicas = after(to(1, 0.0, 1, hashes=PREFIX))
    assert replicas[1].memory.free_blocks < replicas[0].memory.free_blocks
    assert [kv_use(replica) for replica in replicas] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("isolation", "who", "share"),
    [
        ("adapter", {"adapter": 1, "tenant": 1}, 0.64),
        ("adapter", {"adapter": 2, "tenant": 1}, 0.0),
        ("adapter", {"adapter": -1, "tenant": 1}, 0.0),
        ("tenant", {"adapter": 2, "tenant": 1}, 0.64),
        ("tenant", {"adapter": 1, "tenant": 2}, 0.0),
        ("shared", {"adapter": -1, "tenant": 3}, 0.64),
    ],
)
def test_a_prefix_counts_only_for_those_who_may_share_it(
    isolation: str, who: dict[str, Any], share: float
) -> None:
    replicas = after(to(1, 0.0, 1, hashes=PREFIX), isolation=isolation)
    assert cached_share(asked(**who), replicas[1]) == share


def test_a_base_model_prompt_is_found_for_its_tenant() -> None:
    replicas = after(to(1, 0.0, -1, tenant=2, hashes=PREFIX))
    assert cached_share(asked(-1, tenant=2), replicas[1]) == 0.64
    assert cached_share(asked(-1, tenant=1), replicas[1]) == 0.0


def test_without_a_prefix_cache_nothing_is_found() -> None:
    replicas = after(to(1, 0.0, 1, hashes=PREFIX), engine={"prefix_cache": {"enabled": False}})
    assert cached_share(asked(1), replicas[1]) == 0.0
    assert Score().choose(asked(1), replicas) == 1  # its adapter is there


def test_the_share_is_what_an_admission_would_find() -> None:
    """A prompt that is cached to its last token still computes that one."""
    replicas = after(Ask(0.0, 1, prompt_tokens=64, hashes=PREFIX), replicas=1)
    again = request(1, tenant=1, prompt_tokens=64, hashes=list(PREFIX))
    share = cached_share(again, replicas[0])
    assert share == 48 / 64
    replicas[0].submit(again, 100.0)
    assert replicas[0].memory.acquire_prefix(again, 64, 100.0) == share * 64


def test_cold_adapters_have_homes_that_spread_and_a_burst_stays_together() -> None:
    router, replicas = Score(), real_replicas(4)
    homes = [router.choose(request(adapter), replicas) for adapter in range(200)]
    assert all(Counter(homes)[replica] > 30 for replica in range(4))
    replicas[homes[0]].outstanding = 4  # its load has begun; it is not hot yet
    assert router.choose(request(0, 999), replicas) == homes[0]
    assert Score().choose(request(0, 999), replicas) != homes[0]


def test_a_burst_stays_together_although_replicas_leave_before_its() -> None:
    router, replicas = Score(), real_replicas(4)
    adapter = next(a for a in range(50) if router.choose(request(a), replicas) == 2)
    replicas[2].outstanding = 4
    assert router.choose(request(adapter), replicas[1:]) == 1
    assert router.choose(request(adapter), replicas) == 2


def test_it_foresees_the_replica_that_has_the_adapter() -> None:
    replicas = after(to(1, 0.0, 1))
    router = Score()
    assert router.foresee(1, load(replicas, 0, 4)) == 1
    assert router.choose(asked(1), replicas) == 1
