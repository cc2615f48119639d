"""What the report says of a run, as text on a page."""

from __future__ import annotations

import streamlit as st

from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.text import escaped, unbroken
from simlora.report.measured import from_outside
from simlora.report.words import counted, duration, timing_basis


def show_words(figures: RunFigures) -> None:
    """The sentences of the report: promises first, then what limits the fleet."""
    title = "What the client saw" if from_outside(figures.summary) else "What limits this fleet"
    with st.expander(title, expanded=True):
        for paragraph in figures.words:
            st.markdown(unbroken(escaped(paragraph)))


def provenance(figures: RunFigures) -> None:
    """What the figures rest on."""
    simulation = figures.summary["simulation"]
    wall_s = simulation["wall_s"]
    told = (
        f"{counted(figures.summary['requests']['offered'], 'request')} in "
        f"{duration(simulation['span_s'])} of simulated time, computed in {duration(wall_s)}; "
        f"seed {simulation['seed']}; simlora {simulation['version']}; times from "
        f"{timing_basis(simulation['timing'])}."
    )
    st.caption(unbroken(escaped(told)))
