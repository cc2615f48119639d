"""Runs: result directories side by side, with the panels that an operator watches."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.pages import RUNS
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.run_files import run_directories, told
from simlora.dashboard.text import show_mistake
from simlora.results.files import SUMMARY

KIND = "runs"
KEEP = "keep"
_MOST_SHOWN = 4


def show() -> None:
    """Draw the page."""
    st.title("Runs")
    st.caption(
        "Result directories in ./runs side by side: latency, cold loads, GPU memory, promises and "
        "cost."
    )
    _keep()
    directories = run_directories()
    if not directories:
        st.info(
            "There are no result directories in ./runs yet. `simlora run SCENARIO` writes one, and "
            "so does the button above."
        )
        return
    kept = jobs.result(KEEP)
    first = [kept] if kept in directories else directories[:1]
    chosen = st.multiselect(
        "Runs",
        directories,
        first,
        format_func=told,
        key=state.keyed("runs_chosen", kept),
        bind="query-params",
        max_selections=_MOST_SHOWN,
        help=f"Up to {_MOST_SHOWN} result directories, the newest first.",
    )
    if not chosen:
        st.info("Choose at least one run.")
        return
    figures = _figures(chosen)
    if not figures:
        return
    from simlora.dashboard.operator_charts import draw

    draw(figures)


def _keep() -> None:
    """Simulate the present scenario into a result directory."""
    with st.expander("Keep the sidebar's scenario as a run"):
        name = st.text_input(
            "Name of the run",
            state.scenario().name,
            key=f"keep_name@{state.generation()}",
            help="The folder in ./runs that is written: letters, digits, dots, dashes, underlines.",
        )
        plain = re.fullmatch(r"[\w-][\w.-]{0,99}", name) is not None
        if st.button("Simulate and keep", disabled=not plain, icon=":material/save:"):
            _keep_run(name)
        if not plain:
            st.caption("A name has up to 100 letters, digits, dots, dashes and underlines.")
    if jobs.mistake(KEEP):
        show_mistake(jobs.mistake(KEEP))


def _keep_run(name: str) -> None:
    out = RUNS / name
    jobs.begin(
        KEEP,
        f"Writing {out}",
        "keep_run",
        state.scenario(),
        out,
        files=state.files(),
        remember=False,
    )


def _figures(chosen: list[Path]) -> dict[str, RunFigures]:
    """The figures of these runs, read one after the other by a worker; none until all are here.
    Says of which runs there are none, and why."""
    known: dict[tuple[Path, float], RunFigures | str] = st.session_state.setdefault(
        "runs_known", {}
    )
    wanted = {place: (place, (place / SUMMARY).stat().st_mtime) for place in chosen}
    for key in [key for key in known if key not in wanted.values()]:
        del known[key]
    asked: tuple[Path, float] | None = st.session_state.get("runs_asked")
    if asked is not None and not jobs.running(KIND):
        st.session_state["runs_asked"] = None
        found = jobs.result(KIND) or jobs.mistake(KIND)
        jobs.forget(KIND)
        if found is not None and asked in wanted.values():
            known[asked] = found
    missing = [key for key in wanted.values() if key not in known]
    if missing:
        if not jobs.running(KIND) and not jobs.running(KEEP):
            st.session_state["runs_asked"] = missing[0]
            jobs.begin(KIND, "Reading", "read_run", missing[0][0], remember=False)
        return {}
    read: dict[str, RunFigures] = {}
    for place, key in wanted.items():
        one = known[key]
        if isinstance(one, str):
            show_mistake(one)
        else:
            read[told(place)] = one
    return read
