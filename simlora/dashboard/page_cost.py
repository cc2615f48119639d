"""Cost: the bill of a month, who pays it, and what other ways would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.limits import check_size
from simlora.dashboard.run_files import run_directories, told
from simlora.errors import UserError
from simlora.scenario.cost import METHODS

KIND = "cost"
_SIDEBAR = "the sidebar's scenario"
_NOBODY = "nobody"
_MIX = "the scenario's mix"
_IDLE = {"own_line": "a line of their own", "spread": "spread over tenants"}


def show() -> None:
    """Draw the page."""
    st.title("Cost")
    st.caption(
        "What a month costs if it goes on as in the run: who pays how much of the bill, what that "
        "leaves, and what other ways of serving would cost."
    )
    source, changes, tenant = _controls()
    problem = None
    if not isinstance(source, Path):
        try:
            check_size(source)
        except UserError as error:
            problem = str(error)
            st.warning(problem)
    asked = (source, changes, tenant)
    if st.button(
        "Tell the cost",
        type="primary",
        icon=":material/play_arrow:",
        disabled=problem is not None,
    ):
        jobs.begin(
            KIND,
            "Reckoning",
            "cost",
            *asked,
            of=asked,
            files={} if isinstance(source, Path) else state.files(),
            remember=not isinstance(source, Path),
        )
    found = jobs.shown(
        KIND,
        asked,
        "Tell the cost",
        "Nothing reckoned yet. Prices of tiers are in the scenario (price_usd_month), storage, "
        "training and people in its cost block.",
    )
    if found is None:
        return
    from simlora.dashboard.cost_charts import draw

    draw(found)


def _controls() -> tuple[Any, dict[str, Any], str | None]:
    one, two, three, four = st.columns(4, gap="medium")
    directories = run_directories()
    chosen = one.selectbox(
        "Cost of",
        [_SIDEBAR, *directories],
        format_func=lambda place: told(place) if isinstance(place, Path) else str(place),
        key="cost_source",
        bind="query-params",
        help="The scenario is simulated first; a result directory in ./runs is read.",
    )
    source = chosen if isinstance(chosen, Path) else state.scenario()
    cost = state.scenario().cost.attribution
    used = [name for name, part in cost.method.model_dump().items() if part]
    own = used[0] if len(used) == 1 else _MIX
    methods = [*METHODS] if own != _MIX else [_MIX, *METHODS]
    method = two.selectbox(
        "Divide the bill by",
        methods,
        index=methods.index(own),
        key=state.keyed("cost_method", own),
        bind="query-params",
        help="gpu_seconds: the time of batches. compute_units: the operations of a tenant's "
        "tokens. tokens: prompt and output alike. residency: bytes in GPU memory over time.",
    )
    idle = three.selectbox(
        "Idle GPUs",
        list(_IDLE),
        index=list(_IDLE).index(cost.idle),
        format_func=lambda name: _IDLE[name],
        key=state.keyed("cost_idle", cost.idle),
        bind="query-params",
        help="What GPUs cost while they compute nothing.",
    )
    names = [
        f"{group.name}-{number:04d}"
        for group in state.scenario().tenants
        for number in range(min(group.count, 20))
    ]
    tenant = four.selectbox(
        "Dedicate an instance to",
        [_NOBODY, *names] if source is state.scenario() else [_NOBODY],
        key="cost_tenant",
        bind="query-params",
        help="Whether an instance of its own would pay for this tenant. Of a group the first 20 "
        "can be chosen.",
    )
    changes: dict[str, Any] = {"cost.attribution.idle": idle}
    if method != _MIX:
        changes["cost.attribution.method"] = method
    return source, changes, None if tenant == _NOBODY else str(tenant)
