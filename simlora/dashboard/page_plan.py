"""Plan: the cheapest fleet that keeps every promise."""

from __future__ import annotations

from typing import Any

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.limits import check_size
from simlora.dashboard.plan_figures import PlanFigures
from simlora.errors import UserError
from simlora.scenario.catalog import gpu_names

KIND = "plan"
_FIRST = ("l40s", "a100-80gb", "h100-80gb")
_MOST_GPUS = 5
_REPLICATIONS = 3
_MOST_SEARCHED = 12  # fleets, for the bar alone: how many there will be nobody knows


def show() -> None:
    """Draw the page."""
    st.title("Plan")
    st.caption(
        "Find the cheapest fleet that keeps every tier's promises on the scenario's traffic: "
        "promises are set under Tiers and fairness in the sidebar."
    )
    changes, budget, headroom = _controls()
    scenario, problem = state.scenario(), None
    try:
        if not changes["plan.gpus"]:
            raise UserError("Choose at least one GPU.")
        scenario = scenario.with_overrides(changes)
        check_size(scenario, 1 if state.replayed() else _REPLICATIONS + 1)
    except UserError as error:
        problem = str(error)
        st.warning(problem)
    asked = (scenario, budget, headroom)
    if st.button(
        "Find the cheapest fleet",
        type="primary",
        icon=":material/search:",
        disabled=problem is not None,
    ):
        jobs.begin(KIND, "Searching", "plan", *asked, _MOST_SEARCHED, of=asked, files=state.files())
    found: PlanFigures | None = jobs.shown(
        KIND,
        asked,
        "Find the cheapest fleet",
        "Nothing planned yet: choose what there is to choose from, and search.",
    )
    if found is None:
        return
    from simlora.dashboard.plan_charts import draw

    draw(found)


def _controls() -> tuple[dict[str, Any], float | None, bool]:
    scenario = state.scenario()
    known = gpu_names(scenario.catalog)
    first = [name for name in scenario.plan.gpus or _FIRST if name in known]
    most_replicas = min(scenario.plan.max_replicas, 6)
    one, two, three = st.columns([4, 2, 2], gap="medium")
    gpus = one.multiselect(
        "GPUs to choose from",
        known,
        first,
        key=state.keyed("plan_gpus", first),
        bind="query-params",
        max_selections=max(_MOST_GPUS, len(first)),
        help="Replicas of one kind each; with their prices in the catalog or the scenario.",
    )
    most = two.number_input(
        "At most replicas",
        1,
        32,
        most_replicas,
        key=state.keyed("plan_replicas", most_replicas),
        bind="query-params",
        help="Of a fleet.",
    )
    budget = three.number_input(
        "Budget (USD a month)",
        0.0,
        1e9,
        0.0,
        500.0,
        format="%.6g",
        key="plan_budget",
        bind="query-params",
        help="Above it, the best that the money reaches is told too. 0: no bound.",
    )
    headroom = st.toggle(
        "Also find the load that it holds",
        False,
        key="plan_headroom",
        bind="query-params",
        help="Load the fleet more and more until a promise breaks. Takes longer.",
    )
    changes = {
        "plan.gpus": gpus,
        "plan.tensor_parallel": scenario.plan.tensor_parallel
        or sorted({pool.tensor_parallel for pool in scenario.fleet}),
        "plan.max_replicas": int(most),
        "plan.replications": _REPLICATIONS,
    }
    return changes, budget or None, bool(headroom)
