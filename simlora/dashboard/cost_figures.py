"""What a month costs, in tables that can be handed from process to process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.cost.alternatives import BreakEven
from simlora.cost.analysis import Costs, costs, scenario_of
from simlora.cost.money import dollars
from simlora.errors import UserError
from simlora.results.result import Result, load_result
from simlora.scenario.schema import Scenario
from simlora.sim import simulate

if TYPE_CHECKING:
    import pandas as pd

_POINTS = 80  # of a curve over queries
_LEAST, _MOST = 1e2, 1e8  # queries a month


@dataclass(frozen=True, slots=True)
class CostFigures:
    """All in USD of a month. `bill` by line; `tenants` and `tiers` with `cost_usd`, `price_usd`,
    `credit_usd` and `margin_usd`; `units` what one of each costs; `same_demand` by way of serving;
    `ways` what a tenant costs by `way` and `queries` a month; `break_evens` in words by way;
    `dedication` for a tenant, in a sentence."""

    name: str
    attribution: str
    run_usd: float
    month_usd: float
    nobody_usd: float
    bill: Mapping[str, float]
    tenants: pd.DataFrame
    tiers: pd.DataFrame
    units: Mapping[str, float | None]
    same_demand: Mapping[str, float]
    ways: pd.DataFrame
    break_evens: Mapping[str, str]
    dedication: str | None


def cost_figures(
    source: Scenario | Path,
    changes: Mapping[str, Any],
    tenant: str | None,
    simulated: Callable[[float, int], None],
) -> CostFigures:
    """Simulate a scenario, or read a result directory, and find what its tenants cost; `changes`
    are of fields of `cost`. Raises UserError."""
    result: Result
    if isinstance(source, Path):
        result = load_result(source)
        scenario = scenario_of(result).with_overrides(changes)
    else:
        scenario = source.with_overrides(changes)
        result = simulate(scenario, progress=simulated)
    found = costs(result, scenario, () if tenant is None else (tenant,))
    return _figures(found)


def _figures(found: Costs) -> CostFigures:
    import pandas as pd

    queries = np.geomspace(_LEAST, _MOST, _POINTS)
    ways = [
        pd.DataFrame({"way": name, "queries": queries, "usd": [curve(one) for one in queries]})
        for name, curve in found.ways.items()
    ]
    return CostFigures(
        name=found.name,
        attribution=found.attribution,
        run_usd=found.run_usd,
        month_usd=found.month.usd,
        nobody_usd=found.month.nobody_usd,
        bill={name: usd for name, usd in found.month.bill.items() if usd},
        tenants=found.tenants,
        tiers=found.tiers.rename_axis("tier").reset_index(),
        units=asdict(found.units),
        same_demand=found.same_demand,
        ways=pd.concat(ways, ignore_index=True),
        break_evens={name: _when(point) for name, point in found.break_evens.items()},
        dedication=_dedication(found),
    )


def _when(point: BreakEven) -> str:
    """As the command line says it: `first` where it changes once more beyond that point."""
    if point.queries is None:
        return point.cheaper
    return f"{'first ' if point.again else ''}{point.cheaper} {point.queries:,.0f} queries"


def _dedication(found: Costs) -> str | None:
    if not found.dedications:
        return None
    one = found.dedications[0]
    for usd in (one.credit_usd, one.dedicated_usd, one.shared_usd):
        if not np.isfinite(usd):
            raise UserError(f"{one.tenant}: an instance of its own has no price in this scenario")
    answer = "Dedicate" if one.by_penalty or one.by_cost else "Do not dedicate"
    also = "would" if one.by_cost else "would not"
    return (
        f"{answer} an instance to {one.tenant}: it is given back {dollars(one.credit_usd)} a "
        f"month, an instance costs {dollars(one.dedicated_usd)}; with the "
        f"{dollars(one.shared_usd)} that it costs on the shared fleet it {also} pay."
    )
