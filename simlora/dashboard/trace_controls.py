"""The controls of a load that is an uploaded trace, in the place of those of synthetic traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from simlora.dashboard import state
from simlora.dashboard.text import escaped
from simlora.dashboard.trace_load import (
    BUSIEST,
    DIVISIONS,
    EVENLY,
    NAMED,
    Replay,
    TraceLoad,
    names_fit,
)
from simlora.report.words import counted, duration

if TYPE_CHECKING:
    from simlora.dashboard.controls import Controls

OWN_LOAD = "Use the scenario's own load"
_TOLD = {
    EVENLY: "each group of the scenario gets its share of busy and of quiet tenants, in proportion "
    "to the numbers under Tenants.",
    BUSIEST: "the busiest tenants are in the first group of the scenario and the quietest in the "
    "last, in proportion to the numbers under Tenants.",
    NAMED: "the trace's names are those of the scenario's tenants.",
}


def wanted_trace() -> None:
    """Say which trace the link has been made with, where that is not here."""
    name = state.wanted_trace()
    if name is None:
        return
    st.warning(
        escaped(
            f"This link replays the trace {name}, which a link cannot hold: upload it again on the "
            "Trace page; until then the scenario's own load is simulated."
        )
    )
    st.button(OWN_LOAD, on_click=state.use_own_load, key="forget_wanted", width="stretch")


def trace_controls(controls: Controls, load: TraceLoad) -> Replay:
    """What the load is, how it is replayed, and the way back."""
    st.markdown(f"**{escaped(load.name)}** is the load: {_size(load)}.")
    st.button(
        OWN_LOAD,
        on_click=state.use_own_load,
        width="stretch",
        help="The trace is then no more replayed. What the other controls say stays.",
    )
    requests = st.number_input(
        "Requests of the trace",
        1,
        load.requests,
        load.requests,
        key=state.keyed("replay_requests", load.requests),
        bind="query-params",
        help="So many are replayed, from its start. Fewer make room for pages that run them "
        "several times.",
    )
    speed = st.number_input(
        "Speed of the replay (times)",
        0.01,
        1000.0,
        1.0,
        0.25,
        format="%.6g",
        key="replay_speed",
        bind="query-params",
        help="2: the same requests in half the time, so twice the load. 1: as fast as in the "
        "trace.",
    )
    longest = controls.base.engine.max_model_len
    controls.optional(
        "Longest request (tokens)",
        "engine.max_model_len",
        longest,
        10_000_000,
        help="Prompt and answer together. A longer request is rejected. 0: as long as the model "
        "can take.",
    )
    longest = controls.changes.get("engine.max_model_len", longest)
    if longest is not None and load.longest_tokens > longest:
        st.caption(
            f":material/warning: The longest request of the trace has {load.longest_tokens:,} "
            f"tokens: what is longer than {longest:,} is rejected."
        )
    options = [NAMED, *DIVISIONS] if names_fit(controls.base, load.tenants) else list(DIVISIONS)
    division = st.selectbox(
        "The trace's tenants in groups",
        options,
        key=state.keyed("replay_groups", options[0]),
        bind="query-params",
        help="Which of the trace's tenants are in which group of the scenario, whose tier and "
        "adapters are then theirs. The Trace page lists who is called what.",
    )
    st.caption(f"{division.capitalize()}: {_TOLD[division]}")
    return Replay(int(requests), float(speed), str(division))


def _size(load: TraceLoad) -> str:
    whole = counted(load.requests, "request")
    if load.total > load.requests:
        whole = f"the first {load.requests:,} of {load.total:,} requests"
    tenants = counted(len(load.tenants), "tenant")
    return f"{whole} of {tenants} in {duration(load.span_s)}"
