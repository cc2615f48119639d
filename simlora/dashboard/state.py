"""The scenario of a session: what it was loaded from, as it was changed since, the trace that it
replays, and all of it in the link."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlencode
from zlib import crc32

import streamlit as st

from simlora.dashboard.limits import check_size
from simlora.dashboard.scenario_text import (
    as_code,
    from_code,
    scenario_from_bytes,
    scenario_from_text,
)
from simlora.dashboard.trace_load import Replay, TraceLoad, files_of, replaying, tenant_names
from simlora.errors import UserError
from simlora.scenario.schema import Scenario

CODE = "s"  # the link's parameter
TRACE = "trace"  # and the one with the name of the trace that is replayed
REPLAY = "replay_"  # how parameters begin that say how it is replayed
_LONGEST_NAME = 80
DEFAULT = "what-if"


@cache
def default_text() -> str:
    """The YAML text of the scenario that the dashboard opens with."""
    return (resources.files(__package__) / "data" / "what-if.yaml").read_text("utf-8")


def scenario() -> Scenario:
    """The session's scenario, with all changes; its load is the trace, where there is one."""
    found: Scenario = st.session_state["scenario"]
    return found


def own() -> Scenario:
    """The same with the load of its own."""
    found: Scenario = st.session_state["own"]
    return found


def trace() -> TraceLoad | None:
    """The uploaded trace that is to be the load."""
    found: TraceLoad | None = st.session_state.get("trace")
    return found


def replayed() -> bool:
    """Whether it is: not every scenario can have other tenants."""
    return scenario().workload.trace is not None


def how_replayed() -> Replay:
    """How it is replayed, where it is."""
    found: Replay = st.session_state["replay"]
    return found


def files() -> dict[str, bytes]:
    """The files that a worker needs to simulate the scenario."""
    load = trace()
    if load is None or not replayed():
        return {}
    return files_of(own(), load, how_replayed())


def names() -> list[str]:
    """What the trace's tenants are called in the scenario, the busiest first."""
    load = trace()
    if load is None or not replayed():
        return []
    return tenant_names(own(), load, how_replayed().division)


def wanted_trace() -> str | None:
    """The trace that the link replays and that has to be uploaded for it."""
    found: str | None = st.session_state.get("wanted_trace")
    return found


def base() -> Scenario:
    """The scenario as it was loaded."""
    found: Scenario = st.session_state["base"]
    return found


def generation() -> int:
    """Counts what was loaded, so that controls start anew with each."""
    return int(st.session_state["generation"])


def keyed(name: str, default: object) -> str:
    """The key of a control that is in the link and whose default hangs on the scenario: with
    another default it is another control, and begins anew."""
    return f"{name}_{crc32(repr(default).encode()) % 0x10000:04x}"


def open_session() -> None:
    """Load what the link says, or the default; once a session."""
    if "base" in st.session_state:
        return
    code = st.query_params.get(CODE)
    st.session_state["wanted_trace"] = st.query_params.get(TRACE, "")[:_LONGEST_NAME] or None
    st.session_state["wanted_replay"] = {
        key: value for key, value in st.query_params.items() if key.startswith(REPLAY)
    }
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
    _begin_anew(loaded)


def use_trace(load: TraceLoad) -> None:
    """Take an uploaded trace as the load."""
    st.session_state["trace"] = load
    st.session_state["wanted_trace"] = None
    _begin_anew(own())


def use_own_load() -> None:
    """Take the scenario's own load again, and want no trace any more."""
    st.session_state["trace"] = st.session_state["wanted_trace"] = None
    _begin_anew(own())


def take_over(found: Scenario) -> None:
    """Begin anew with a scenario that was found for the present load. Raises UserError."""
    if found.workload.trace is not None:
        kept = {"workload": own().workload, "tenants": own().tenants}
        found = found.model_copy(update=kept).with_overrides({})
    load(found)


def _begin_anew(loaded: Scenario) -> None:
    """All controls begin at what this scenario says."""
    for name in ("base", "own", "scenario"):
        st.session_state[name] = loaded
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


def change(changed: Scenario, how: Replay | None = None) -> None:
    """Take over the scenario that the controls make of the loaded one, and write the link. `how`
    the trace is replayed, if there is one.

    Raises UserError where the trace cannot be the load of this scenario; its own is then.
    """
    st.session_state["own"] = st.session_state["scenario"] = changed
    load = trace()
    name = wanted_trace() if load is None else load.name
    code = as_code(changed)
    _write(CODE, None if code == _default_code() else code)
    _write(TRACE, name)
    if wanted_trace() is not None:  # its controls, which are not drawn yet, are not to be forgotten
        for key, value in st.session_state["wanted_replay"].items():
            _write(key, value)
    if load is not None and how is not None:
        st.session_state["replay"] = how
        st.session_state["scenario"] = replaying(changed, load, how)


def link() -> str:
    """The address of this page with the scenario and the page's own controls in it."""
    address = str(st.context.url or "").partition("?")[0]
    parts = [
        (key, value)
        for key in st.query_params
        if key != CODE
        for value in st.query_params.get_all(key)
    ]
    return f"{address}?{urlencode([(CODE, as_code(own())), *parts])}"


def _write(key: str, value: str | None) -> None:
    """Have the link say so, or nothing of it."""
    if value is None:
        if key in st.query_params:
            del st.query_params[key]
    elif st.query_params.get(key) != value:
        st.query_params[key] = value


@cache
def _default_code() -> str:
    return as_code(scenario_from_text(default_text(), DEFAULT))


def _try_to_load(read: Callable[[], Scenario]) -> None:
    st.session_state["load_mistake"] = None
    try:
        load(read())
    except (UserError, OSError) as error:
        st.session_state["load_mistake"] = str(error)
