"""How far each variant's hit ratio is from what no eviction policy can beat by much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlora.planning.paired import Difference, paired_difference
from simlora.scenario.schema import Scenario

if TYPE_CHECKING:
    from simlora.planning.compare import Comparison

BELADY = "belady"
HIT_RATIO = "adapters.hit_ratio"
# What two scenarios may differ in and still ask the same: a comparison sets the seeds.
_NOT_ASKED: Any = {"name": True, "description": True, "seed": True}


@dataclass(frozen=True, slots=True)
class Distance:
    """The hit ratio of one variant beside that of the variant named `bound` (its own name: it is
    the bound; None: there is none that is like it in all but the eviction policy).

    `hit_ratio` is the mean over replications with its 95 % t-interval, `distance` is variant less
    bound, paired within replications (None: nothing to compare with). Both are shares of 1.
    """

    variant: str
    bound: str | None
    hit_ratio: Difference
    distance: Difference | None

    @property
    def is_bound(self) -> bool:
        """Whether the variant is itself a bound."""
        return self.bound == self.variant


def is_bound(scenario: Scenario) -> bool:
    """Whether GPU memory evicts what is asked for last (Belady, IBM Systems Journal 5 (1966)),
    with nothing laid over that."""
    return scenario.adapters.hot.eviction == BELADY


def distances(compared: Comparison) -> list[Distance]:
    """One entry a variant, in their order; none where no variant is a bound, or where none has a
    hit ratio.

    A variant may lie above its bound: Belady has the fewest misses among adapters of one size
    whose order of requests is given, but a server cannot evict what is in use, and it loads later
    than it is asked.
    """
    bounds = [variant for variant in compared.variants if is_bound(variant.scenario)]
    values = {line.variant: line.values for line in compared.lines if line.metric.key == HIT_RATIO}
    if not bounds or not values:
        return []
    settings = {bound.name: _other_settings(bound.scenario) for bound in bounds}
    found = []
    for variant in compared.variants:
        own = _other_settings(variant.scenario)
        bound = next((name for name in settings if settings[name] == own), None)
        if variant.name in settings:
            bound = variant.name
        distance = None
        if bound is not None and bound != variant.name:
            distance = paired_difference(values[bound], values[variant.name])
        found.append(Distance(variant.name, bound, _mean(values[variant.name]), distance))
    return found


def as_json(found: Sequence[Distance]) -> dict[str, Any] | None:
    """The distances as plain values; None without any."""
    if not found:
        return None
    return {
        "policy": BELADY,
        "metric": HIT_RATIO,
        "variants": {
            line.variant: {
                "bound": line.bound,
                "mean": line.hit_ratio.mean,
                "interval": _interval(line.hit_ratio),
                "distance": line.distance.mean if line.distance else None,
                "distance_interval": _interval(line.distance) if line.distance else None,
            }
            for line in found
        },
    }


def _other_settings(scenario: Scenario) -> dict[str, Any]:
    """All that a scenario asks but the eviction policy of GPU memory."""
    return scenario.model_dump(exclude=_NOT_ASKED | {"adapters": {"hot": {"eviction"}}})


def _mean(values: Sequence[float | None]) -> Difference:
    """A mean with its interval: what it differs from 0 by."""
    return paired_difference([0.0] * len(values), values)


def _interval(difference: Difference) -> list[float] | None:
    if difference.low is None or difference.high is None:
        return None
    return [difference.low, difference.high]
