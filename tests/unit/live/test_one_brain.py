"""One brain, two clocks: the live run's gateway and replica, told the times of the simulation, do
to every request what the simulation does."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from simpy import Environment
from simpy.events import Event

from simlora.live.server import Server
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.loading import Transfer
from simlora.serving.request import COMPLETED, Request
from simlora.sim.events import BOUNDARY, After
from simlora.sim.link import Link
from simlora.workload.requests import requests_of
from tests.simulating import Ask, run, small_scenario, traffic_of, with_pool


class VirtualTime:
    """Drives a server as the wall clock does, but in virtual time: steps take what the timing model
    says, transfers what the simulation's links say."""

    def __init__(self, scenario: Scenario, asks: Sequence[Ask]) -> None:
        deployment = expand(scenario)
        traffic = traffic_of(deployment, asks)
        self.env = Environment()
        self.ended: list[Request] = []
        log = StepLog(len(deployment.tiers))
        self.server = Server(deployment, traffic.prefix_block_tokens, log, self.ended)
        rates = self.server.path.links_bytes_per_s
        self.links = [Link(self.env, rate, self._transferred) for rate in rates]
        self.numbers: dict[int, int] = {}
        self.idle: Event | None = None
        self.env.process(self._arrive(requests_of(deployment, traffic)))
        self.env.process(self._serve())
        self.env.run()

    def _arrive(self, requests: Any) -> Generator[Event, None, None]:
        for request in requests:
            if request.arrival_s > self.env.now:
                yield self.env.timeout(request.arrival_s - self.env.now)
            self.server.receive(request, self.env.now)
            self._react()

    def _transferred(self, transfer: Transfer) -> None:
        self.server.transfer_done(self.numbers.pop(id(transfer)), self.env.now)
        self._react()

    def _react(self) -> None:
        self._begin()
        if self.idle is not None and self.server.wants_step(self.env.now):
            waking, self.idle = self.idle, None
            After(self.env, 0.0, BOUNDARY).callbacks.append(lambda _: waking.succeed())

    def _begin(self) -> None:
        for number, transfer in self.server.orders:
            self.numbers[id(transfer)] = number
            self.links[transfer.link].start(transfer)
        self.server.orders.clear()
        for number, delay_s in self.server.timers:
            self.env.timeout(delay_s).callbacks.append(partial(self._ring, number))
        self.server.timers.clear()

    def _ring(self, number: int, _: Event) -> None:
        self.server.ring(number, self.env.now)
        self._react()

    def _serve(self) -> Generator[Event, None, None]:
        while True:
            plan = self.server.schedule(self.env.now)
            self._begin()
            if plan is None:
                self.idle = self.env.event()
                yield self.idle
                continue
            step_s = self.server.timing.step(plan.timed)
            ended = self.env.event()
            After(self.env, step_s, BOUNDARY).callbacks.append(lambda _, e=ended: e.succeed())
            yield ended
            self.server.complete(self.env.now, step_s, 0.0)


def burst(count: int, seed: int = 0) -> list[Ask]:
    random = np.random.default_rng(seed)
    return [
        Ask(
            arrival_s,
            int(random.integers(-1, 4)),
            prompt_tokens=int(random.integers(10, 300)),
            output_tokens=int(random.integers(1, 80)),
            hashes=tuple(range(int(random.integers(0, 8)))),
        )
        for arrival_s in np.sort(random.uniform(0, 2.0, count)).tolist()
    ]


STORIES: dict[str, dict[str, Any]] = {
    "all at once": {},
    "delayed by rate limits": {
        "gateway.rate_limits": {"standard": {"rps": 5, "burst": 2, "over_limit": "delay"}}
    },
    "turned away, and coming again": {
        "gateway.rate_limits": {"tenant-0001": {"rps": 3, "burst": 2}},
        "workload.clients": {"retries": 2},
    },
    "given up": {"gateway.timeouts_s": {"standard": 0.05}, "engine.max_num_seqs": 1},
    "overloaded": {"gateway.admission": {"max_queue": {"standard": 1}}, "engine.max_num_seqs": 1},
    "cold": {"adapters.cold_start": "reject", "adapters.initial_tier": "store"},
    "answered by the base model": {
        "adapters.cold_start": "base_model",
        "adapters.initial_tier": "store",
    },
    "too long": {"engine.max_model_len": 256},
    "few slots": {"adapters.hot.max_adapters": 1},
    "a canary": {"tenants.0.rollout": {"mode": "canary", "share": 0.5}},
    "copies": {"tenants.0.rollout": {"mode": "shadow", "share": 0.5}},
    "prompts apart": {"engine.scheduler": {"batching": "separate", "chunked_prefill": False}},
}


@pytest.mark.parametrize("story", STORIES)
def test_every_request_fares_as_in_the_simulation(story: str) -> None:
    scenario = small_scenario().with_overrides(STORIES[story])
    if story in ("all at once", "few slots"):
        scenario = with_pool(scenario, 12_000)
    asks = burst(60)
    simulated = run(scenario, asks)
    served = VirtualTime(scenario, asks)
    ours = sorted(served.ended, key=lambda request: request.index)
    assert len(ours) == len(simulated.requests) >= len(asks)
    for mine, theirs in zip(ours, simulated.requests, strict=True):
        assert facts(mine) == facts(theirs)
        assert mine.finish_s == pytest.approx(theirs.finish_s, abs=1e-9)
        assert mine.first_token_s == pytest.approx(theirs.first_token_s, abs=1e-9)
    assert served.server.scheduler.preemptions == simulated.schedulers[0].preemptions
    reached = [request for request in ours if request.status == COMPLETED]
    assert reached


def facts(request: Request) -> tuple[Any, ...]:
    return (
        request.index,
        request.status,
        request.reason,
        request.attempts,
        request.adapter,
        request.adapter_source,
        request.cached_tokens,
        request.preemptions,
    )


def test_the_stories_are_not_all_the_same() -> None:
    """Each of them has what it is named after."""
    done = {
        name: VirtualTime(small_scenario().with_overrides(s), burst(60))
        for name, s in STORIES.items()
    }
    reasons = {name: {r.reason for r in each.ended} - {""} for name, each in done.items()}
    assert reasons["turned away, and coming again"] == {"rate_limit"}
    assert max(r.attempts for r in done["turned away, and coming again"].ended) > 1
    assert reasons["given up"] == {"timeout"}
    assert reasons["overloaded"] == {"overloaded"}
    assert reasons["cold"] == {"cold_start"}
    assert reasons["too long"] == {"context_length"}
    assert any(r.base_fallback for r in done["answered by the base model"].ended)
    assert any(r.adapter >= 4 for r in done["a canary"].ended)
    assert any(r.shadow for r in done["copies"].ended)
    assert done["few slots"].server.scheduler.tiers.stats.evictions
