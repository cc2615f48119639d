"""The clock of a server with simulated timing, and what is decided by it."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import numpy as np
import pytest

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serve.answer import Answer
from simlora.serve.bodies import Asked
from simlora.serve.clock import MOST_LATE_S, PacedClock
from simlora.serve.limits import one_replica
from simlora.serve.metrics import Metrics
from simlora.serve.run import Service
from simlora.serve.simulated import SimulatedReplica
from simlora.serving.request import COMPLETED, Request
from tests.simulating import Ask, run
from tests.unit.serve.service import completion, post, scenario

CROWDED = {
    "max_model_len": 512,
    "max_num_seqs": 4,
    "memory": {"kv_cache_tokens": 700},
    # The asks of a simulation have no text, so they leave nothing in a cache.
    "prefix_cache": {"enabled": False},
}


class Hand:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


def paced(asked: Scenario, hand: Hand) -> SimulatedReplica:
    """A replica whose clock is moved by hand."""
    deployment = expand(asked)
    return SimulatedReplica(deployment, Metrics(deployment), PacedClock(hand))


def test_whoever_is_late_is_told_when_it_should_have_been() -> None:
    hand = Hand()
    clock = PacedClock(hand)
    told: list[float] = []

    def tick(now: float) -> None:
        told.append(now)
        clock.at(now + 0.1, tick)

    clock.at(0.1, tick)
    for late_s in (0.13, 0.47, 0.5, 0.88):
        hand.at_s = 100.0 + late_s
        assert clock.catch_up() == pytest.approx(late_s)
    assert told == pytest.approx([0.1 * n for n in range(1, 9)])
    assert clock.lost_s == 0


def test_events_come_in_order_of_time_and_of_being_asked_for() -> None:
    hand = Hand()
    clock = PacedClock(hand)
    told: list[str] = []
    for name, due_s in (("c", 0.3), ("a", 0.1), ("b", 0.2), ("b2", 0.2)):
        clock.at(due_s, lambda _, name=name: told.append(name))  # type: ignore[misc]
    clock.at(0.1, lambda now: clock.at(now, lambda _: told.append("at once")))
    hand.at_s += 0.4
    clock.catch_up()
    assert told == ["a", "at once", "b", "b2", "c"]


def test_a_clock_that_cannot_keep_up_is_set_back_and_says_by_how_much() -> None:
    hand = Hand()
    clock = PacedClock(hand)
    told: list[float] = []
    clock.at(1.0, told.append)
    hand.at_s += 1.0 + MOST_LATE_S + 3.0
    assert clock.catch_up() == pytest.approx(1.0)
    assert told == [1.0]
    assert clock.lost_s == pytest.approx(MOST_LATE_S + 3.0)
    assert clock.real_s(2.0) == pytest.approx(102.0 + MOST_LATE_S + 3.0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": CROWDED},
        {"engine": {"max_model_len": 512, "adapter_loading": "blocking"}},
        {"engine": {"max_model_len": 512, "scheduler": {"batching": "separate"}}},
        {"gateway": {"timeouts_s": {"gold": 0.2}}},
        {"gateway": {"rate_limits": {"gold": {"rps": 30, "over_limit": "delay"}}}},
        {"gateway": {"rate_limits": {"gold": {"rps": 30}}}},
        {"adapters": {"nvme": {"capacity_gb": 0}}},
    ],
    ids=["plain", "crowded", "blocking", "separate", "timeouts", "delays", "limits", "store"],
)
def test_everything_happens_when_it_does_in_the_simulation(changes: dict[str, object]) -> None:
    """However late this process is: requests are put in at odd moments of a coarse clock."""
    asked = scenario(**changes)
    random = np.random.default_rng(3)
    hand = Hand()
    replica = paced(asked, hand)
    answers, asks = list[Answer](), list[Ask]()
    for arrival_s in np.sort(random.uniform(0, 1.5, 60)).tolist():
        while hand.at_s - 100.0 + 0.07 < arrival_s:
            hand.at_s += 0.07
            replica.clock.catch_up()
        hand.at_s = 100.0 + arrival_s
        adapter = int(random.integers(-1, 4))
        ask = Ask(
            hand.at_s - 100.0,
            adapter,
            prompt_tokens=int(random.integers(4, 150)),
            output_tokens=int(random.integers(1, 60)),
        )
        asks.append(ask)
        tenant = expand(asked).adapters[adapter].tenant if adapter >= 0 else 0
        prompt = [f"{len(asks)}"] * ask.prompt_tokens  # nobody's prefix is another's
        whole = Asked("any", most=ask.output_tokens, whole=True)
        answers.append(replica.ask(tenant, adapter, prompt, ask.output_tokens, whole))
    while replica.answers:
        hand.at_s += 0.07
        replica.clock.catch_up()
    replica.check()
    simulated = run(asked, asks).requests
    served = [answer.request for answer in answers]
    assert [(r.status, r.reason) for r in served] == [(r.status, r.reason) for r in simulated]
    for name in ("first_token_s", "finish_s", "queue_s", "adapter_wait_s", "preempted_s"):
        mine, theirs = ([getattr(r, name) for r in them] for them in (served, simulated))
        assert mine == pytest.approx(theirs, abs=1e-9), name
    complete = [answer for answer in answers if answer.request.status == COMPLETED]
    assert complete
    assert all(answer.emitted == answer.request.output_tokens for answer in complete)
    assert all(answer.last_s == answer.request.finish_s for answer in complete)


def test_a_request_overhead_is_spent_before_the_engine() -> None:
    hand = Hand()
    replica = paced(scenario(), hand)
    replica.server.timing.request_overhead_s = 0.02
    ask = partial(replica.ask, 0, -1, ["a"] * 5, 3, Asked("any", most=3, whole=True))
    gone, stays = ask(), ask()
    replica.give_up(gone, "disconnected")
    while replica.answers:
        hand.at_s += 0.01
        replica.clock.catch_up()
    assert gone.request.reason == "disconnected"
    assert gone.emitted == 0
    assert stays.request.queue_s == pytest.approx(0.02)


def all_requests() -> int:
    """How many of them this process holds."""
    gc.collect()
    return sum(type(held) is Request for held in gc.get_objects())


@pytest.mark.parametrize("reason", ["completed", "given up", "turned away"])
def test_a_request_that_has_ended_is_not_kept_until_its_timeout(reason: str) -> None:
    gateway: dict[str, object] = {"timeouts_s": {"gold": 3600.0}}
    if reason == "turned away":
        gateway["rate_limits"] = {"gold": {"rps": 0.001, "burst": 1}}
    hand = Hand()
    replica = paced(scenario(gateway=gateway), hand)
    before = all_requests()
    for _ in range(10):
        given = replica.ask(0, -1, ["a"] * 5, 3, Asked("any", most=3, whole=True))
        if reason == "given up":
            replica.give_up(given, "disconnected")
        del given
    for _ in range(100):
        hand.at_s += 0.01
        replica.clock.catch_up()
        if not replica.received > 10:  # queues forget who has left when the next one is served
            replica.ask(2, -1, ["a"] * 5, 3, Asked("any", most=3, whole=True))
    assert not replica.answers
    assert all_requests() == before


def test_of_a_request_that_was_copied_nothing_is_kept_when_it_has_ended() -> None:
    rollout = {"mode": "shadow", "share": 1.0}
    tenants = [{"name": "pro", "tier": "gold", "adapter": {"rank": 8}, "rollout": rollout}]
    hand = Hand()
    replica = paced(scenario(tenants=tenants), hand)
    before, copied = all_requests(), replica.server._door._copied
    for _ in range(3):
        replica.ask(0, 0, ["a"] * 5, 3, Asked("any", most=3, whole=True))
    assert len(copied) == 3
    while replica.server.scheduler.outstanding:
        hand.at_s += 0.01
        replica.clock.catch_up()
    assert not copied
    assert all_requests() == before


def test_a_fleet_is_served_by_one_replica_of_its_first_pool_and_others_are_unavailable() -> None:
    fleet = [
        {"name": "first", "gpu": "a10g", "replicas": 3},
        {"name": "own", "gpu": "l4-like", "tenants": ["free"]},
    ]
    catalog = {"gpus": {"l4-like": {"base": "a10g"}}}
    served, notes = one_replica(scenario(fleet=fleet, catalog=catalog))
    assert notes == ["of the fleet one replica of its first pool is run, all the time"]
    service = Service(served)
    answers = [
        post(service, "completions", completion(model=model))
        for model in ("pro-0000", "free-0000/0")
    ]
    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[1].json()["error"]["code"] == "unavailable"


def test_a_clock_that_is_stopped_before_it_has_begun_does_not_run() -> None:
    """And may run again."""
    clock = PacedClock()
    told: list[float] = []

    def tick(now: float) -> None:
        told.append(now)
        clock.stop()

    async def run() -> None:
        clock.at(0.0, tick)
        clock.stop()
        await clock.run()
        assert not told
        await clock.run()

    asyncio.run(run())
    assert told == [0.0]
