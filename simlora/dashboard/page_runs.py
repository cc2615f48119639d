"""Runs: result directories side by side, with the panels that an operator watches."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.pages import RUNS
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.run_files import run_directories, told
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
    if jobs.mistake(KIND):
        st.error(jobs.mistake(KIND))
    if not chosen:
        st.info("Choose at least one run.")
        return
    figures = _figures(chosen)
    if figures is None:
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
        plain = bool(name) and all(c.isalnum() or c in "._-" for c in name) and name[0] != "."
        if st.button("Simulate and keep", disabled=not plain, icon=":material/save:"):
            _keep_run(name)
        if not plain:
            st.caption("A name has letters, digits, dots, dashes and underlines only.")
    if jobs.mistake(KEEP):
        st.error(jobs.mistake(KEEP))


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


def _figures(chosen: list[Path]) -> dict[str, RunFigures] | None:
    """The figures of these runs, read one after the other by a worker; None until all are here."""
    known: dict[tuple[Path, float], RunFigures] = st.session_state.setdefault("runs_known", {})
    wanted = {place: (place, (place / SUMMARY).stat().st_mtime) for place in chosen}
    for key in [key for key in known if key not in wanted.values()]:
        del known[key]
    asked: tuple[Path, float] | None = st.session_state.get("runs_asked")
    if asked is not None and not jobs.running(KIND):
        st.session_state["runs_asked"] = None
        found = jobs.result(KIND)
        jobs.forget(KIND)
        if found is not None and asked in wanted.values():
            known[asked] = found
    missing = [key for key in wanted.values() if key not in known]
    if not missing:
        return {told(place): known[key] for place, key in wanted.items()}
    if jobs.running(KIND) or jobs.running(KEEP) or jobs.mistake(KIND):
        return None
    st.session_state["runs_asked"] = missing[0]
    jobs.begin(KIND, "Reading", "read_run", missing[0][0], remember=False)
    return None
