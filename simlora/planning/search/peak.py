"""The highest load that a fleet holds under its promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simlora.errors import UserError
from simlora.planning.search.breaking import Break, first_break
from simlora.planning.search.growth import with_load
from simlora.planning.search.trials import Confirmation, Trials
from simlora.scenario.schema import Scenario

PRECISION = 1.05  # the load that breaks over the load that holds
_LEAST, _MOST = 1 / 64, 64.0


@dataclass(frozen=True, slots=True)
class Peak:
    """A fleet holds `holds` times the scenario's load (0: not even a 64th of it), by the runs that
    a plan searches with, and no longer `breaks` times (None: it holds 64 times). `evidence` is of
    the load that holds, which the same runs chose; `first` tells what breaks first at the load that
    does not, or at the scenario's own if none holds."""

    holds: float
    breaks: float | None
    confirmation: Confirmation | None
    first: Break | None
    requests_per_s: float | None


def peak_load(scenario: Scenario, trials_of: Callable[[Scenario], Trials]) -> Peak:
    """The peak load of the scenario's own fleet, within 5 %.

    A load is taken to be held if every smaller one is. Raises UserError as `Trials` does; loads so
    small that their traffic shows nothing count as not held.
    """
    tried: dict[float, Trials] = {}

    def passes(factor: float) -> bool:
        loaded = with_load(scenario, factor)
        if factor not in tried:
            try:
                tried[factor] = trials_of(loaded)
            except UserError:
                if factor >= 1:
                    raise
                return False
        return tried[factor].passes(_name(factor), loaded)

    holds, breaks = _bracket(passes)
    while breaks is not None and holds and breaks / holds > PRECISION:
        middle = round((holds * breaks) ** 0.5, 4)
        if passes(middle):
            holds = middle
        else:
            breaks = middle
    if not holds:
        first = _break(scenario, tried, 1.0, None)
        return Peak(0.0, breaks, None, first, None)
    trials, loaded = tried[holds], with_load(scenario, holds)
    return Peak(
        holds,
        breaks,
        trials.confirm(_name(holds), loaded),
        None if breaks is None else _break(scenario, tried, breaks, holds),
        _rate(loaded),
    )


def _break(
    scenario: Scenario, tried: dict[float, Trials], breaks: float, holds: float | None
) -> Break | None:
    """What breaks at a load that was tried, on the first seed with which something does, against
    the same seed at a load that holds; None if every run kept its promises and all together showed
    too little."""
    beyond = tried[breaks]
    seed = beyond.breaking_seed(_name(breaks))
    if seed is None:
        return None
    held = None if holds is None else tried[holds].whole(with_load(scenario, holds), seed)
    return first_break(beyond.promises, held, beyond.whole(with_load(scenario, breaks), seed))


def _bracket(passes: Callable[[float], bool]) -> tuple[float, float | None]:
    """A load that holds (0: none) and one, at most twice as high, that breaks (None: none)."""
    factor = 1.0
    if passes(factor):
        while factor < _MOST:
            if not passes(2 * factor):
                return factor, 2 * factor
            factor *= 2
        return factor, None
    while factor > _LEAST:
        if passes(factor / 2):
            return factor / 2, factor
        factor /= 2
    return 0.0, factor


def _name(factor: float) -> str:
    return f"load x {factor:g}"


def _rate(scenario: Scenario) -> float | None:
    """Requests a second, where the traffic is synthetic and says so."""
    workload = scenario.workload
    if workload.trace is not None:
        return None
    if workload.rate_rps is not None:
        return workload.rate_rps
    return sum(group.count * (group.rate_rps_each or 0.0) for group in scenario.tenants)
