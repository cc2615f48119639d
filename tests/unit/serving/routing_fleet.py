"""Replicas and requests for the tests of routers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler
from simlora.sim.simulation import Simulation
from tests.simulating import Collector, small_scenario, traffic_of


@dataclass
class Replica:
    """All that a router asks of a replica which looks at nothing cached."""

    outstanding: int = 0


@dataclass
class Numbered(Replica):
    """One that keeps its identity whoever else is there."""

    number: int = 0


def fleet(*outstanding: int) -> Any:
    return [Replica(count) for count in outstanding]


def numbered(*numbers: int) -> Any:
    return [Numbered(number=number) for number in numbers]


def request(adapter: int, index: int = 0, **more: Any) -> Request:
    return Request(
        index,
        more.get("arrival_s", 0.0),
        more.get("tenant", 0),
        0,
        adapter,
        more.get("prompt_tokens", 10),
        10,
        session=more.get("session", -1),
        prefix_hashes=more.get("hashes"),
    )


def real_replicas(count: int, scenario: Scenario | None = None) -> list[BatchScheduler]:
    """Replicas of a simulation that has not begun, numbered from 0."""
    scenario = (scenario or small_scenario()).with_overrides({"fleet.0.replicas": count})
    deployment = expand(scenario)
    simulation = Simulation(deployment, traffic_of(deployment, []), Collector(deployment))
    schedulers = [replica.scheduler for replica in simulation.replicas]
    for number, scheduler in enumerate(schedulers):
        scheduler.number = number  # type: ignore[attr-defined,unused-ignore]
    return schedulers


@dataclass
class Lines:
    """Single servers, each with a line of its own, that a router chooses among.

    `service_s` tells the seconds that a replica, by its number, takes for a request it begins at
    an instant. `chosen` is what the router did: instants and numbers.
    """

    router: Any
    replicas: Any
    service_s: Callable[[int, float], float]
    chosen: list[tuple[float, int]] = field(default_factory=list)

    def serve(self, arrivals_s: Sequence[float]) -> None:
        free_s = {replica.number: 0.0 for replica in self.replicas}
        finishes: list[tuple[float, int, Request, Any]] = []
        learn = getattr(self.router, "finished", None)
        for index, now in enumerate(arrivals_s):
            while finishes and finishes[0][0] <= now:
                _, _, done, replica = heappop(finishes)
                replica.outstanding -= 1
                if learn is not None:
                    learn(done, replica)
            asked = request(0, index, arrival_s=now)
            replica = self.replicas[self.router.choose(asked, self.replicas)]
            replica.outstanding += 1
            begin_s = max(now, free_s[replica.number])
            asked.enqueued_s = now
            asked.first_token_s = asked.finish_s = begin_s + self.service_s(replica.number, begin_s)
            free_s[replica.number] = asked.finish_s
            heappush(finishes, (asked.finish_s, index, asked, replica))
            self.chosen.append((now, replica.number))

    def share(self, number: int, begin_s: float, end_s: float) -> float:
        """The share of the requests between two instants that a replica got."""
        within = [chosen for instant, chosen in self.chosen if begin_s <= instant < end_s]
        return within.count(number) / len(within)
