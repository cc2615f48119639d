"""The scenario of a session: what it was loaded from, as it was changed since, and in the link."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path

import streamlit as st

from simlora.dashboard.limits import check_size
from simlora.dashboard.scenario_text import (
    as_code,
    from_code,
    scenario_from_bytes,
    scenario_from_text,
)
from simlora.errors import UserError
from simlora.scenario.schema import Scenario

CODE = "s"  # the link's parameter
DEFAULT = "what-if"


@cache
def default_text() -> str:
    """The YAML text of the scenario that the dashboard opens with."""
    return (resources.files(__package__) / "data" / "what-if.yaml").read_text("utf-8")


def scenario() -> Scenario:
    """The session's scenario, with all changes."""
    found: Scenario = st.session_state["scenario"]
    return found


def base() -> Scenario:
    """The scenario as it was loaded."""
    found: Scenario = st.session_state["base"]
    return found


def generation() -> int:
    """Counts what was loaded, so that controls start anew with each."""
    return int(st.session_state["generation"])


def open_session() -> None:
    """Load what the link says, or the default; once a session."""
    if "base" in st.session_state:
        return
    code = st.query_params.get(CODE)
    if code is not None:
        try:
            load(from_code(code))
            return
        except UserError as error:
            st.session_state["load_mistake"] = str(error)
    load(scenario_from_text(default_text(), DEFAULT))


def load(loaded: Scenario) -> None:
    """Begin anew with this scenario. Raises UserError if it is too large for the dashboard."""
    check_size(loaded)
    st.session_state["base"] = st.session_state["scenario"] = loaded
    st.session_state["generation"] = st.session_state.get("generation", 0) + 1


def load_upload(name: str, raw: bytes) -> None:
    """Begin anew with an uploaded file, or remember what is wrong with it."""
    _try_to_load(lambda: scenario_from_bytes(raw, name))


def load_file(file: Path) -> None:
    """Begin anew with one of the shipped scenarios."""
    _try_to_load(lambda: scenario_from_bytes(file.read_bytes(), file.name))


def load_default() -> None:
    """Begin anew with what the dashboard opens with."""
    _try_to_load(lambda: scenario_from_text(default_text(), DEFAULT))


def load_mistake() -> str | None:
    """What was wrong with the last thing that was to be loaded."""
    found: str | None = st.session_state.get("load_mistake")
    return found


def change(changed: Scenario) -> None:
    """Take over the scenario that the controls make of the loaded one, and write the link."""
    st.session_state["scenario"] = changed
    code = as_code(changed)
    if code == _default_code():
        if CODE in st.query_params:
            del st.query_params[CODE]
    elif st.query_params.get(CODE) != code:
        st.query_params[CODE] = code


def link() -> str:
    """The address of this page with the scenario in it."""
    address = str(st.context.url or "").partition("?")[0]
    return f"{address}?{CODE}={as_code(scenario())}"


@cache
def _default_code() -> str:
    return as_code(scenario_from_text(default_text(), DEFAULT))


def _try_to_load(read: Callable[[], Scenario]) -> None:
    st.session_state["load_mistake"] = None
    try:
        load(read())
    except (UserError, OSError) as error:
        st.session_state["load_mistake"] = str(error)
