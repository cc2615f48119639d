"""The same platform with more to do: more load, or more tenants."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simlora.errors import UserError
from simlora.scenario.schema import BurstArrivals, Scenario, TenantGroup

OPTION = "--what-if"
_MOST = 1000.0


@dataclass(frozen=True, slots=True)
class Growth:
    """`tenants` times as many tenants, each as busy as before, and everybody `load` times as busy
    as before."""

    tenants: float = 1.0
    load: float = 1.0

    @property
    def name(self) -> str:
        """Such as `tenants x 2`."""
        parts = [f"{key} x {getattr(self, key):g}" for key in ("tenants", "load")]
        return ", ".join(part for part in parts if not part.endswith(" x 1")) or "as it is"


def parse_growth(text: str) -> Growth:
    """A growth from `tenants=2`, `load=1.5` or both with a comma.

    >>> parse_growth("tenants=2,load=1.5")
    Growth(tenants=2.0, load=1.5)
    """
    factors: dict[str, float] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or key not in ("tenants", "load"):
            raise UserError(f"{OPTION} takes tenants=FACTOR, load=FACTOR or both, not {text!r}")
        if key in factors:
            raise UserError(f"{OPTION} {text}: {key} is given twice")
        try:
            factors[key] = float(value)
        except ValueError:
            raise UserError(f"{OPTION} {text}: {value!r} is not a number") from None
        if not 0 < factors[key] <= _MOST:
            raise UserError(f"{OPTION} {text}: {key} must be above 0 and at most {_MOST:g}")
    return Growth(**factors)


def grown(scenario: Scenario, growth: Growth) -> Scenario:
    """The scenario after that growth.

    Raises UserError for more tenants where a trace names them.
    """
    if growth.tenants != 1:
        scenario = _with_tenants(scenario, growth.tenants)
    return with_load(scenario, growth.load)


def with_load(scenario: Scenario, factor: float) -> Scenario:
    """The scenario with everybody `factor` times as busy; a trace is replayed as much faster."""
    workload = scenario.workload
    if factor == 1:
        return scenario
    if workload.trace is not None:
        workload = workload.model_copy(update={"rate_scale": workload.rate_scale * factor})
        return scenario.model_copy(update={"workload": workload})
    changes: dict[str, object] = {}
    if workload.rate_rps is not None:
        changes["rate_rps"] = workload.rate_rps * factor
    if isinstance(workload.arrivals, BurstArrivals):
        bursts = [
            burst.model_copy(update={"requests": max(1, round(burst.requests * factor))})
            for burst in workload.arrivals.bursts
        ]
        changes["arrivals"] = workload.arrivals.model_copy(update={"bursts": bursts})
    return scenario.model_copy(
        update={
            "workload": workload.model_copy(update=changes),
            "tenants": [_busier(group, factor) for group in scenario.tenants],
        }
    )


def _busier(group: TenantGroup, factor: float) -> TenantGroup:
    if group.rate_rps_each is None:
        return group
    return group.model_copy(update={"rate_rps_each": group.rate_rps_each * factor})


def _with_tenants(scenario: Scenario, factor: float) -> Scenario:
    """So many times the tenants of each group; a load given as a whole grows with them."""
    workload = scenario.workload
    if workload.trace is not None:
        raise UserError(
            f"{OPTION} tenants={factor:g}: the tenants are those of the trace, so there cannot be "
            f"more; `{OPTION} load={factor:g}` replays it faster"
        )
    groups = [
        group.model_copy(update={"count": max(1, math.ceil(group.count * factor - 1e-9))})
        for group in scenario.tenants
    ]
    if workload.rate_rps is not None:
        workload = workload.model_copy(update={"rate_rps": workload.rate_rps * factor})
    return scenario.model_copy(update={"tenants": groups, "workload": workload})
