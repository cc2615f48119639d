"""Fidelity: how far predictions are from measurements, the shipped ones' and one's own."""

from __future__ import annotations

import streamlit as st

from simlora.dashboard import fidelity_compare, fidelity_profiles, fidelity_upload


def show() -> None:
    """Draw the page."""
    st.title("Fidelity")
    st.caption(
        "How far predictions are from measurements: what each shipped timing profile states of "
        "itself, any run of yours beside the measured one, and a table of measurements run by run."
    )
    st.subheader("Shipped profiles")
    fidelity_profiles.show()
    st.subheader("Your own: predicted beside measured")
    fidelity_compare.show()
    st.subheader("Your own: a table of measurements, run by run")
    fidelity_upload.show()
