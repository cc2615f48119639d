"""Policies: variants on the same requests, with intervals; miss-ratio curves and Belady's bound."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.controls import COLD_START, EVICTION, FAIRNESS, ROUTING
from simlora.dashboard.limits import MOST_REPLICATIONS, check_size
from simlora.errors import UserError

KIND = "policies"


@dataclass(frozen=True, slots=True)
class Field:
    """A field whose values can be compared, and the ones chosen at first."""

    key: str
    values: tuple[str, ...]
    first: tuple[str, ...]


FIELDS = {
    "Eviction in GPU memory": Field(
        "adapters.hot.eviction", EVICTION, ("lru", "s3-fifo", "gdsf", "belady")
    ),
    "Fairness": Field("gateway.fairness.policy", FAIRNESS, ("fcfs", "wfq", "vtc")),
    "Routing": Field(
        "gateway.routing", ROUTING, ("least_loaded", "adapter_affinity", "power_of_two")
    ),
    "Cold start": Field("adapters.cold_start", COLD_START, COLD_START),
}


def show() -> None:
    """Draw the page."""
    st.title("Policies")
    st.caption(
        "Run the scenario under several policies on the same requests, several times, and see "
        "which differences are more than chance."
    )
    chosen, names, replications = _controls()
    too_much = None
    try:
        check_size(state.scenario(), max(len(names), 1) * replications)
    except UserError as error:
        too_much = str(error)
    if len(names) < 2:
        st.info("Choose at least two to compare.")
    elif too_much:
        st.warning(too_much)
    # Not by a callback: that would see the controls as they were when the page was drawn.
    if st.button(
        "Compare",
        type="primary",
        icon=":material/play_arrow:",
        disabled=len(names) < 2 or too_much is not None,
    ):
        _compare(chosen, names, replications)
    found = jobs.shown(
        KIND,
        (state.scenario(), chosen, names, replications),
        "Compare",
        "Nothing compared yet. The first policy chosen is the baseline that the others are "
        "measured against.",
    )
    if found is None:
        return
    from simlora.dashboard.policy_charts import draw

    draw(found)


def _controls() -> tuple[Field, tuple[str, ...], int]:
    left, middle, right = st.columns([3, 6, 2], gap="medium")
    field = left.selectbox(
        "Compare",
        list(FIELDS),
        key="policy_field",
        bind="query-params",
        help="The field of the scenario whose values are compared; all others stay as they are.",
    )
    chosen = FIELDS[field]
    names = middle.multiselect(
        "Policies, the baseline first",
        chosen.values,
        chosen.first,
        key=f"policies_{chosen.key}",
        bind="query-params",
        max_selections=6,
        help="The first is the baseline. belady knows the traffic ahead: no eviction policy can "
        "beat it by much.",
    )
    if state.replayed():
        right.caption("A trace is the same in every replication, so each policy is run once.")
        return chosen, tuple(names), 1
    replications = right.number_input(
        "Replications",
        1,
        MOST_REPLICATIONS,
        3,
        key="policy_replications",
        bind="query-params",
        help="Runs of each policy, on as many seeds. One tells no difference; more make the "
        "intervals narrower.",
    )
    return chosen, tuple(names), int(replications)


def _compare(field: Field, names: tuple[str, ...], replications: int) -> None:
    scenario = state.scenario()
    jobs.begin(
        KIND,
        "Comparing",
        "policies",
        scenario,
        field.key,
        names,
        replications,
        of=(scenario, field, names, replications),
        files=state.files(),
    )
