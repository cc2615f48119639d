"""The scenario beside every page: where it comes from, its controls, and how to take it along."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from simlora.dashboard import state
from simlora.dashboard.controls import Controls, scenario_controls
from simlora.dashboard.limits import expected_requests
from simlora.dashboard.scenario_text import as_yaml
from simlora.dashboard.text import escaped, show_mistake
from simlora.dashboard.trace_controls import wanted_trace
from simlora.dashboard.trace_load import Replay, TraceLoad
from simlora.errors import UserError
from simlora.scenario.schema import Scenario

_OWN = "your own"


def scenario_sidebar(home: Path) -> None:
    """Draw the sidebar, and take over what its controls say."""
    with st.sidebar:
        _source(home)
        if state.load_mistake():
            show_mistake(state.load_mistake())
        wanted_trace()
        controls = Controls(state.base(), state.generation())
        how = scenario_controls(controls, state.trace())
        try:
            changed = state.base().with_overrides(controls.changes)
        except UserError as error:
            show_mistake(error)
            changed = state.own()
        try:
            state.change(changed, how)
        except UserError as error:
            show_mistake(error)
        _take_along()


def link_sidebar() -> None:
    """Draw the link, once the page has drawn the controls that it holds too."""
    with st.sidebar, st.expander("Link to this page"):
        st.caption(
            "Whoever opens it sees this page with all its settings and those of the scenario."
        )
        if state.replayed():
            st.caption("The trace itself is not in it: they have to upload that.")
        st.code(state.link(), language=None, wrap_lines=True)


def _source(home: Path) -> None:
    """Choose a scenario to start from, or upload one."""
    files = {file.stem: file for file in sorted((home / "scenarios").glob("*.yaml"))}
    files.pop(state.DEFAULT, None)
    options = [state.DEFAULT, *files]

    def chosen() -> None:
        name = st.session_state["start_from"]
        if name in files:
            state.load_file(files[name])
        elif name == state.DEFAULT:
            state.load_default()

    st.selectbox(
        "Start from",
        options,
        index=0 if state.base().name == state.DEFAULT else None,
        placeholder=f"{_OWN}: {state.base().name}",
        key="start_from",
        on_change=chosen,
        help="A ready-made scenario. Choosing one replaces the present scenario and its changes.",
    )
    shows = _shows(files.get(st.session_state.get("start_from", "")))
    if shows:
        st.caption(shows)


def _shows(file: Path | None) -> str:
    """The first sentence of a scenario file's comment."""
    if file is None:
        return ""
    lines = []
    for line in file.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    text = " ".join(lines).removeprefix("Shows:").strip()
    return text[0].upper() + text[1:].partition(". ")[0].rstrip(".") + "." if text else ""


def _take_along() -> None:
    """Upload, download and link."""
    scenario = state.scenario()
    about = "Up to" if state.replayed() else "About"
    st.caption(f"{about} {expected_requests(scenario):,.0f} requests a run.")
    if state.replayed():
        groups = (f"{group.count:,} {group.name}" for group in scenario.tenants)
        st.caption(escaped(f"Tenants: {', '.join(groups)}."))
    whom = "for `simlora run` or to upload here again."
    load = state.trace()
    if load is not None and state.replayed():
        whom = "for `simlora run`, with the trace below in the same folder."
        workload = scenario.workload.model_copy(update={"trace": load.file})
        scenario = scenario.model_copy(update={"workload": workload})
    st.download_button(
        "Download scenario (YAML)",
        as_yaml(scenario),
        f"{scenario.name}.yaml",
        "application/yaml",
        on_click="ignore",
        width="stretch",
        help=f"What the controls say now, {whom}",
    )
    if load is not None and state.replayed():
        st.download_button(
            "Download trace (Parquet)",
            partial(_replayed_trace, state.own(), load, state.how_replayed()),
            load.file,
            "application/vnd.apache.parquet",
            on_click="ignore",
            width="stretch",
            help="What is replayed, its tenants called as in the scenario.",
        )
    with st.expander("Upload a scenario"):
        upload = st.file_uploader(
            "Scenario (YAML)",
            ["yaml", "yml"],
            key="scenario_upload",
            help="It may name no files of the server: no traces, model configs or profile files.",
        )
        seen = None if upload is None else upload.file_id
        if upload is not None and st.session_state.get("seen_upload") != seen:
            st.session_state["seen_upload"] = seen
            state.load_upload(upload.name, upload.getvalue())
            st.session_state.pop("start_from", None)
            st.rerun()


def _replayed_trace(scenario: Scenario, load: TraceLoad, how: Replay) -> bytes:
    """Only made when it is asked for."""
    from simlora.dashboard.trace_replay import replayed_trace

    return replayed_trace(scenario, load, how)
