"""What the report says of a run, as text on a page."""

from __future__ import annotations

import re

import streamlit as st

from simlora.dashboard.run_figures import RunFigures
from simlora.report.words import counted, duration, timing_basis

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#$~|])")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", text)


def show_words(figures: RunFigures) -> None:
    """The sentences of the report: promises first, then what limits the fleet."""
    with st.expander("What limits this fleet", expanded=True):
        for paragraph in figures.words:
            st.markdown(escaped(paragraph))


def provenance(figures: RunFigures) -> None:
    """What the figures rest on."""
    simulation = figures.summary["simulation"]
    wall_s = simulation["wall_s"]
    st.caption(
        escaped(
            f"{counted(figures.summary['requests']['offered'], 'request')} in "
            f"{duration(simulation['span_s'])} of simulated time, computed in {duration(wall_s)}; "
            f"seed {simulation['seed']}; simlora {simulation['version']}; times from "
            f"{timing_basis(simulation['timing'])}."
        )
    )
