"""The scenario beside every page: where it comes from, its controls, and how to take it along."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from simlora.dashboard import state
from simlora.dashboard.controls import Controls, scenario_controls
from simlora.dashboard.limits import expected_requests
from simlora.dashboard.scenario_text import as_yaml
from simlora.errors import UserError

_OWN = "your own"


def scenario_sidebar(home: Path) -> None:
    """Draw the sidebar, and take over what its controls say."""
    with st.sidebar:
        _source(home)
        if state.load_mistake():
            st.error(state.load_mistake())
        controls = Controls(state.base(), state.generation())
        scenario_controls(controls)
        try:
            changed = state.base().with_overrides(controls.changes)
        except UserError as error:
            st.error(str(error))
            changed = state.scenario()
        state.change(changed)
        _take_along()


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
    return text.partition(". ")[0].rstrip(".") + "." if text else ""


def _take_along() -> None:
    """Upload, download and link."""
    scenario = state.scenario()
    st.caption(f"About {expected_requests(scenario):,.0f} requests a run.")
    st.download_button(
        "Download scenario (YAML)",
        as_yaml(scenario),
        f"{scenario.name}.yaml",
        "application/yaml",
        on_click="ignore",
        width="stretch",
        help="What the controls say now, for `simlora run` or to upload here again.",
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
    with st.expander("Link to this scenario"):
        st.caption("Whoever opens it sees this page with all settings of the scenario.")
        st.code(state.link(), language=None, wrap_lines=True)
