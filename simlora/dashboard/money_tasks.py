"""Tasks about money: what a month costs, and the cheapest fleet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simlora.dashboard.cost_figures import CostFigures, cost_figures
from simlora.dashboard.limits import check_size
from simlora.dashboard.plan_figures import PlanFigures, plan_figures
from simlora.dashboard.run_tasks import simulated
from simlora.dashboard.tasks import Progress
from simlora.dashboard.trace_replay import placed
from simlora.scenario.schema import Scenario


def cost(
    scratch: Path,
    progress: Progress,
    source: Scenario | Path,
    changes: Mapping[str, Any],
    tenant: str | None,
) -> CostFigures:
    """What a month costs of a scenario, or of a result directory."""
    progress(0.1, "reading")
    if isinstance(source, Path):
        return cost_figures(source, changes, tenant, lambda *_: None)
    check_size(source)
    source = placed(scratch, source)
    return cost_figures(source, changes, tenant, simulated(source, progress))


def plan(
    scratch: Path,
    progress: Progress,
    scenario: Scenario,
    max_cost_usd: float | None,
    headroom: bool,
    likely: int,
) -> PlanFigures:
    """Search for the cheapest fleet; `likely` is about how many fleets are tried, for the bar."""
    check_size(scenario)
    scenario = placed(scratch, scenario)
    tried = 0

    def tell(line: str) -> None:
        nonlocal tried
        tried += 1
        progress(tried / (tried + likely), line)

    return plan_figures(scenario, max_cost_usd, headroom, tell)
