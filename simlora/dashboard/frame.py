"""What surrounds every page: the menu, the scenario beside it, and the progress of what is being
computed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from threading import Thread

import streamlit as st

from simlora.dashboard import jobs
from simlora.dashboard.pages import PAGES
from simlora.errors import UserError

# Figures that fit into a card on a phone, and a page that does not begin halfway down.
_STYLE = """<style>
[data-testid="stMetricValue"] { font-size: 1.5rem; }
[data-testid="stMainBlockContainer"] { padding-top: 4.5rem; padding-bottom: 3rem; }
</style>"""


def main(home: Path) -> None:
    """Draw the page that is asked for. `home` is the directory with the folder `scenarios`."""
    _make_ready()
    # Only now: the first worker starts while these are imported.
    from simlora.dashboard import state
    from simlora.dashboard.sidebar import scenario_sidebar

    st.set_page_config("simlora", "📊", "wide")
    st.set_option("client.showErrorDetails", "none")  # a traceback is for the log
    st.set_option("client.toolbarMode", "minimal")
    st.html(_STYLE)
    state.open_session()
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
    scenario_sidebar(home)
    progress = st.container()
    try:
        page.run()
    except UserError as error:
        st.error(str(error))
    with progress:
        jobs.watch()


@st.cache_resource(show_spinner=False)
def _make_ready() -> None:
    """Once a server: start the first worker, and import what figures need while it computes."""
    jobs.workers()
    Thread(target=import_module, args=[f"{__package__}.run_charts"], daemon=True).start()
