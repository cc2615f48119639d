"""Text on a page as it is meant, whatever is in it."""

from __future__ import annotations

import re

import streamlit as st

_UNIT = re.compile(r"(?<=\d) (?=(?:%|µs|ms|s|min|h|kB|MB|GB|TB)(?!\w))|(?<=[≤≥]) (?=\d)")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#$~|])")


def escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", text)


def unbroken(text: str) -> str:
    """Text whose lines do not end between a figure and its unit."""
    return _UNIT.sub("\u00a0", text)


def show_mistake(mistake: object) -> None:
    """Say what is wrong; names from files and links are no Markdown."""
    st.error(escaped(str(mistake)))
