"""What if: the scenario simulated, beside the result that was pinned before."""

from __future__ import annotations

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.text import show_mistake

KIND = "what-if"


def show() -> None:
    """Draw the page."""
    st.title("What if")
    st.caption(
        "Change the scenario in the sidebar and simulate it: how long do requests take, why, and "
        "what does the fleet cost? Pin a result to see the next one beside it."
    )
    # The first answer comes unasked, but not in place of one that was asked for.
    if not st.session_state.get("asked") and jobs.desk().job is None:
        _simulate()
    _buttons()
    if jobs.mistake(KIND):
        show_mistake(jobs.mistake(KIND))
    figures: RunFigures | None = jobs.result(KIND)
    if figures is None:
        if jobs.running(KIND):
            st.info("The first result will be here in a moment.")
        elif not jobs.mistake(KIND):
            st.info("Nothing simulated yet: press Simulate.")
        return
    jobs.tell_if_stale(KIND, state.scenario(), "Simulate")
    _draw(figures, st.session_state.get("pinned"))


def _simulate() -> None:
    st.session_state["asked"] = True
    jobs.begin(
        KIND, "Simulating", "what_if", state.scenario(), of=state.scenario(), files=state.files()
    )


def _buttons() -> None:
    pinned = st.session_state.get("pinned")
    with st.container(horizontal=True, key="actions"):
        # Not by a callback: that would see the scenario as it was when the page was drawn.
        if st.button("Simulate", type="primary", icon=":material/play_arrow:"):
            _simulate()
        st.button(
            "Pin this result",
            on_click=_pin,
            disabled=jobs.result(KIND) is None,
            icon=":material/keep:",
            help="Keep it on the page, and show the next results beside it.",
        )
        if pinned is not None:
            st.button("Unpin", on_click=_unpin, icon=":material/keep_off:")


def _pin() -> None:
    st.session_state["pinned"] = jobs.result(KIND)


def _unpin() -> None:
    st.session_state["pinned"] = None


def _draw(figures: RunFigures, pinned: RunFigures | None) -> None:
    from simlora.dashboard.kpis import show_kpis
    from simlora.dashboard.verdict import provenance, show_words

    show_kpis(figures.summary, None if pinned is None else pinned.summary)
    show_words(figures)
    from simlora.dashboard import run_charts as charts  # which takes long, the first time

    runs = {"this": figures} if pinned is None else {"this": figures, "pinned": pinned}
    left, right = st.columns(2, gap="medium")
    with left:
        metric = st.segmented_control(
            "Latency",
            list(charts.METRICS),
            default="TTFT",
            required=True,
            key="latency_metric",
            bind="query-params",
            help="TTFT: time to first token. TPOT: time per output token after it. E2E: from "
            "arrival to the last token.",
        )
        charts.latency_by_tier(runs, metric or "TTFT")
        charts.over_time(
            runs,
            "waiting",
            "Requests waiting",
            "Requests that wait for a place in a batch or for their adapter, in the whole fleet.",
            "requests",
        )
        charts.adapters_found(runs)
        if pinned is not None:
            charts.memory_over_time(pinned, "GPU memory by owner, pinned")
    with right:
        charts.phases_by_tier(runs)
        charts.over_time(
            runs,
            "running",
            "Requests running",
            "Requests that are in a batch, in the whole fleet.",
            "requests",
        )
        charts.memory_over_time(figures)
    provenance(figures)
