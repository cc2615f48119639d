"""What the server does before it takes connections, so that no session has to wait for it."""

from __future__ import annotations

import asyncio
import logging
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from threading import Thread

import streamlit as st
from streamlit import config

from simlora.dashboard import jobs
from simlora.dashboard.pages import PAGES
from simlora.errors import UserError

# What draws the first page and its result: imported in a session it would be waited for.
_DRAWING = ("frame", "sidebar", "kpis", "verdict", "run_charts")
_NOTHING_IS_KEPT_BYTES = 1e12
_EVERYWHERE = ("0.0.0.0", "::")


@asynccontextmanager
async def ready(app: st.App) -> AsyncIterator[None]:
    """The time in which the server serves, as Streamlit's `App` asks for it. Before it the first
    worker starts, what sessions need is imported, and the scenario that they open with is
    simulated; what comes in meanwhile waits. After it the workers end."""
    jobs.workers()  # before all else: it starts while this process imports
    st.set_option("client.showErrorDetails", "none")  # a traceback is for the log
    st.set_option("client.toolbarMode", "minimal")  # for the first session too
    # A browser forgets what it keeps of earlier runs by counting them; where runs follow each other
    # quickly it counts otherwise than the server, and a page stops where something was forgotten.
    config.set_option("global.minCachedMessageSize", _NOTHING_IS_KEPT_BYTES)
    Thread(target=_open_browser, daemon=True).start()
    await asyncio.gather(asyncio.to_thread(_simulate), asyncio.to_thread(_import))
    try:
        yield
    finally:
        jobs.workers().close()


def _simulate() -> None:
    from simlora.dashboard import state
    from simlora.dashboard.scenario_text import scenario_from_text

    scenario = scenario_from_text(state.default_text(), state.DEFAULT)
    try:
        jobs.ahead("what_if", scenario.with_overrides({}))  # as the controls hand it on, unchanged
    except UserError as error:  # every session is going to be told so too
        logging.getLogger(__name__).warning("the first scenario: %s", error)


def _import() -> None:
    for name in _DRAWING:
        import_module(f"{__package__}.{name}")
    import_module(PAGES[0].module)


def _open_browser() -> None:
    """As Streamlit does where it runs a script without a server of its own."""
    if st.get_option("server.headless"):
        return
    host = st.get_option("server.address") or st.get_option("browser.serverAddress")
    if host in _EVERYWHERE:
        host = "localhost"
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    path = str(st.get_option("server.baseUrlPath")).strip("/")
    webbrowser.open(f"{scheme}://{host}:{st.get_option('server.port')}/{path}")
