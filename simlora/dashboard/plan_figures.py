"""A plan, as what a page shows of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simlora.planning.plan import Plan, plan
from simlora.planning.search import words
from simlora.planning.search.branch import Found
from simlora.planning.search.flags import servers
from simlora.planning.search.verdict import Evidence
from simlora.report.words import promise, share
from simlora.scenario.schema import Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class PlanFigures:
    """`best` is the name of the cheapest fleet (None: there is none) at `usd_per_month`, `scenario`
    the one on it. `sentences` say what was found or why nothing was; `evidence` has a row a
    promise; `fleets` the cheapest of each kind of GPU, and those that no other one beats in cost
    and TTFT p99; `servers` name, release, notes and command line of how to start it."""

    best: str | None
    usd_per_month: float | None
    within_budget: bool
    scenario: Scenario | None
    sentences: tuple[str, ...]
    effort: str
    evidence: pd.DataFrame
    fleets: pd.DataFrame
    servers: tuple[tuple[str, str, tuple[str, ...], str], ...]


def plan_figures(
    scenario: Scenario, max_cost_usd: float | None, headroom: bool, tell: Callable[[str], None]
) -> PlanFigures:
    """Search the scenario's plan block. Raises UserError."""
    found = plan(scenario, max_cost_usd=max_cost_usd, headroom=headroom, tell=tell)
    best = found.best
    return PlanFigures(
        best=None if best is None else best.name,
        usd_per_month=None if best is None else best.usd_per_month,
        within_budget=found.within_budget,
        scenario=None if best is None else best.scenario,
        sentences=tuple(_sentences(found)),
        effort=words.effort(found),
        evidence=_evidence(best),
        fleets=_fleets(found),
        servers=()
        if best is None
        else tuple(
            (server.name, server.checked, server.notes, server.line)
            for server in servers(best.scenario)
        ),
    )


def _sentences(found: Plan) -> list[str]:
    told = [words.confidence(found)] if found.best is not None else words.infeasible(found)
    if not found.monotone:
        told.append(
            "One replica more misses a promise, so promises are not kept ever better with more "
            "replicas here, and a cheaper fleet may have been missed."
        )
    if found.max_cost_usd is not None and not found.within_budget:
        told += words.over_budget(found)
    if found.peak is not None:
        told += words.headroom(found.peak)
    return told


def _evidence(best: Found | None) -> pd.DataFrame:
    import pandas as pd

    if best is None:
        return pd.DataFrame()
    return pd.DataFrame(
        [
            {
                "tier": one.promise.tier_name,
                **_promised(one),
                "requests": f"{one.requests:,}",
                "broken": share(one.broken_share),
                "at most": share(one.upper),
                "allowed": share(one.promise.allowed),
            }
            for one in best.confirmation.evidence
        ]
    )


def _promised(one: Evidence) -> dict[str, str]:
    """As the page Tiers says it."""
    kept = {"promised": one.promise.value, "measured": one.worst, "met": True}
    asked, worst, _ = promise(one.promise.bound, kept)
    return {"promise": asked, "worst run": worst}


def _fleets(found: Plan) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "fleet": one.name,
                "usd": one.usd_per_month,
                "ttft_p99_s": one.ttft_p99_s if math.isfinite(one.ttft_p99_s) else None,
                "used": one.used,
            }
            for one in {one.name: one for one in (*found.by_gpu, *found.front)}.values()
        ],
        columns=["fleet", "usd", "ttft_p99_s", "used"],
    )
