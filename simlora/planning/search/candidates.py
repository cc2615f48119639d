"""The configurations that are worth a simulation, with a lower bound on what each costs."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.errors import UserError
from simlora.planning.search.cost import fleet_usd_per_month
from simlora.planning.search.demand import Requests, Window, read_requests, windows
from simlora.planning.search.floor import (
    ROUNDING,
    LatencyFloor,
    ReplicaFloor,
    latency_floors,
    most_undone,
    prices_of,
    replica_floor,
)
from simlora.planning.search.promises import Promise
from simlora.planning.search.space import Configuration
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.timing import make_timing

# Mistakes in these fields come with a configuration, all others are the user's own.
_OF_A_CONFIGURATION = ("fleet", "engine", "adapters.hot")
_CENT = 0.01  # USD a month that tell two prices apart


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that fits and that no bound rules out. `index` is its place in the space, and
    `floor` the fewest replicas that could do. `scenario` is the one that is planned for."""

    index: int
    configuration: Configuration
    floor: ReplicaFloor
    scenario: Scenario

    def fleet(self, replicas: int) -> Scenario:
        """The scenario on so many replicas."""
        return self.configuration.applied(self.scenario, replicas)

    def usd_per_month(self, replicas: int) -> float:
        """What so many replicas cost; it does not fall with their number."""
        return fleet_usd_per_month(self.fleet(replicas))

    @property
    def least_usd(self) -> float:
        """What the fewest replicas cost."""
        return self.usd_per_month(self.floor.replicas)

    def most_replicas(self, usd: float, *, below: bool) -> int:
        """The most replicas up to `plan.max_replicas` that cost no more than `usd`, or (`below`)
        less; 0 if one costs more."""
        limit = usd - _CENT if below else usd + _CENT
        low, high = 0, self.scenario.plan.max_replicas
        while low < high:
            middle = (low + high + 1) // 2
            if self.usd_per_month(middle) <= limit:
                low = middle
            else:
                high = middle - 1
        return low

    def name(self, replicas: int) -> str:
        """Such as `3 x [l40s bf16, 32 hot]`."""
        return f"{replicas} x [{self.configuration.name}]"


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A configuration that no number of replicas up to the most makes do, and why. `floor`: the
    promised percentile that it cannot reach, if it is that."""

    configuration: Configuration
    why: str
    reason: str  # does not fit, too slow, too little throughput
    floor: LatencyFloor | None = None


DOES_NOT_FIT, TOO_SLOW, TOO_LITTLE = "does not fit", "too slow", "too little throughput"


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is left of a space, and what is not."""

    left: tuple[Candidate, ...]
    ruled_out: tuple[RuledOut, ...]


def candidates(
    scenario: Scenario, space: list[Configuration], promises: tuple[Promise, ...]
) -> Candidates:
    """Sort a space by bounds: what does not fit into memory, what is too slow for a promise even
    without load, and what needs more than `plan.max_replicas`.

    Raises UserError for what is wrong with the scenario whatever its fleet is.
    """
    left: list[Candidate] = []
    out: list[RuledOut] = []
    requests: Requests | None = None
    spans: list[Window] = []
    for index, configuration in enumerate(space):
        tried = configuration.applied(scenario, 1)
        try:
            deployment = expand(tried)
            memory = plan_memory(deployment, 0)
        except UserError as error:
            if not str(error).startswith(_OF_A_CONFIGURATION):
                raise configuration.explained(error, scenario) from None
            out.append(RuledOut(configuration, str(error), DOES_NOT_FIT))
            continue
        if requests is None:
            requests = read_requests(deployment, _base_model_only(scenario))
            spans = windows(scenario, promises, requests)
        prices = prices_of(make_timing(deployment, 0))
        floor = ReplicaFloor(1)
        if prices is not None:
            slow = [
                one
                for one in latency_floors(prices, tried, promises, requests)
                if one.ratio > 1 + ROUNDING
            ]
            if slow:
                worst = max(slow, key=lambda one: one.ratio)
                why = worst.sentence(_fleet(configuration))
                out.append(RuledOut(configuration, why, TOO_SLOW, worst))
                continue
            most = scenario.plan.max_replicas
            undone = most_undone(tried, memory, requests)
            floor = replica_floor(prices, tried, memory, spans, most, undone)
            if floor.replicas > most:
                why = f"{floor.sentence(_fleet(configuration))}, more than the {most} allowed"
                out.append(RuledOut(configuration, why, TOO_LITTLE))
                continue
        left.append(Candidate(index, configuration, floor, scenario))
    return Candidates(tuple(left), tuple(out))


def _fleet(configuration: Configuration) -> str:
    return f"{configuration.tensor_parallel} x {configuration.gpu} {configuration.weights}"


def _base_model_only(scenario: Scenario) -> bool:
    """Whether requests may be served without the price of their adapters."""
    merged = scenario.engine.scheduler.merged is not None
    return merged or scenario.adapters.cold_start == "base_model"
