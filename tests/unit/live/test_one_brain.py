"""One brain, two clocks: the live run's gateway and replica, told the times of the simulation, do
to every request what the simulation does."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simpy import Environment
from simpy.events import Event

from simlora.live.server import Server
from simlora.results import files
from simlora.results.decision_file import first_difference, read_decisions
from simlora.results.decisions import Line
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.loading import Transfer
from simlora.serving.request import COMPLETED, Request
from simlora.sim import simulate
from simlora.sim.events import BOUNDARY, After
from simlora.sim.link import Link
from simlora.sim.simulation import Simulation
from simlora.workload.blocks import Traffic
from simlora.workload.requests import requests_of
from simlora.workload.traffic import open_traffic
from tests.simulating import Ask, Collector, run, small_scenario, traffic_of, with_pool


class VirtualTime:
    """Drives a server as the wall clock does, but in virtual time: steps take what the timing model
    says, transfers what the simulation's links say."""

    def __init__(self, scenario: Scenario, traffic: Traffic | Sequence[Ask]) -> None:
        deployment = expand(scenario)
        if not isinstance(traffic, Traffic):
            traffic = traffic_of(deployment, traffic)
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


def scenario_of(story: str) -> Scenario:
    scenario = small_scenario().with_overrides(STORIES[story])
    return with_pool(scenario, 12_000) if story in ("all at once", "few slots") else scenario


@pytest.mark.parametrize("story", STORIES)
def test_every_request_fares_as_in_the_simulation(story: str) -> None:
    scenario = scenario_of(story)
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


def logged(scenario: Scenario, asks: Sequence[Ask]) -> list[Line]:
    """What the simulation says that it decides."""
    deployment = expand(scenario)
    lines: list[Line] = []
    traffic, collector = traffic_of(deployment, asks), Collector(deployment)
    Simulation(deployment, traffic, collector, log=lines.extend).run()
    return lines


@pytest.mark.parametrize("story", STORIES)
def test_every_decision_is_that_of_the_simulation_line_by_line(story: str) -> None:
    scenario, asks = scenario_of(story), burst(60)
    simulated = logged(scenario, asks)
    served = VirtualTime(scenario, asks).server.decisions.drain()
    assert first_difference(simulated, served) is None
    times_s = [[line["time_s"] for line in log] for log in (simulated, served)]
    assert times_s[0] == pytest.approx(times_s[1], abs=1e-9)
    assert sum(line["decision"] == "step" for line in simulated) > 100


@pytest.mark.parametrize("fast_forward", [True, False])
def test_a_simulated_scenario_leaves_the_log_that_the_server_gives(
    fast_forward: bool, tmp_path: Path
) -> None:
    """Of requests as the scenario draws them, written and read again."""
    scenario = small_scenario(
        workload={"rate_rps": 20.0, "duration_s": 10.0, "clients": {"retries": 1}},
        gateway={
            "rate_limits": {"tenant-0001": {"rps": 3, "burst": 2}},
            "timeouts_s": {"standard": 2.0},
        },
        adapters={"hot": {"max_adapters": 2}},
        run={"decisions": True, "fast_forward": fast_forward},
    )
    simulate(scenario, out=tmp_path)
    served = VirtualTime(scenario, open_traffic(expand(scenario)))
    log = list(read_decisions(tmp_path / files.DECISIONS))
    assert first_difference(log, served.server.decisions.drain()) is None
    kinds = {line["decision"] for line in log}
    assert kinds >= {"turned_away", "sent", "admitted", "step", "finished", "adapter_evicted"}


def test_what_a_server_spends_on_a_request_is_no_decision_to_hold_it_back() -> None:
    """Only the simulation lets it wait for that: on a server it passes by itself."""
    asks = burst(20)
    fast, slow = (
        logged(small_scenario(timing={"profile": f"tests.timings:{name}"}), asks)
        for name in ("ConstantStep", "Outside")
    )
    assert "held_back" not in {line["decision"] for line in slow}
    sent_s = [
        [line["time_s"] for line in log if line["decision"] == "sent"] for log in (fast, slow)
    ]
    assert sent_s[1] == pytest.approx([at_s + 0.03 for at_s in sent_s[0]])


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
