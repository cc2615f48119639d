"""What surrounds every page: the menu, the scenario beside it, and the progress of what is being
computed."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.pages import PAGES
from simlora.dashboard.sidebar import link_sidebar, scenario_sidebar
from simlora.dashboard.tables import STYLE as TABLES
from simlora.dashboard.text import show_mistake
from simlora.errors import UserError

# Figures that fit into a card on a phone, cards of one width that fill their rows, charts that do
# not outgrow a window that was made narrower and whose labels have the theme's colour, and a page
# that does not begin halfway down.
_STYLE = """
[data-testid="stMetricValue"] { font-size: 1.5rem; }
[class*="st-key-cards_"] {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(9.2rem, 1fr));
}
[class*="st-key-cards_"] > * { width: 100% !important; }
[data-testid="stVegaLiteChart"] svg { max-width: 100%; }
[data-testid="stVegaLiteChart"] .mark-text.role-mark text { fill: currentColor; }
[data-testid="stMainBlockContainer"] { padding-top: 4.5rem; padding-bottom: 3rem; }
"""


def main(home: Path) -> None:
    """Draw the page that is asked for. `home` is the directory with the folder `scenarios`."""
    st.set_page_config("simlora", "📊", "wide")
    st.html(f"<style>{_STYLE}{TABLES}</style>")
    first = "base" not in st.session_state
    state.open_session()
    if first:
        state.change(state.base().with_overrides({}))
    page = st.navigation(
        [
            st.Page(
                entry.draw(),
                title=entry.title,
                icon=entry.icon,
                url_path=entry.path,
                default=not index,
            )
            for index, entry in enumerate(PAGES)
        ],
        position="top",
    )
    if not first:
        scenario_sidebar(home)
    progress = st.container()
    try:
        page.run()
    except UserError as error:
        show_mistake(error)
    if first:  # nothing is changed yet, so the page need not wait for the many controls
        scenario_sidebar(home)
    link_sidebar()
    with progress:
        jobs.watch()
