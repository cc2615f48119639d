"""What several tests do with a page that has no browser."""

from __future__ import annotations

import re
import time
from typing import Any

from streamlit.testing.v1 import AppTest

PATIENCE_S = 60.0


def settled(app: AppTest) -> AppTest:
    """The page once nothing is being computed."""
    deadline_s = time.monotonic() + PATIENCE_S
    app.run()
    while app.session_state["desk"].job is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
        app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    """The page once what a button begins is done."""
    next(one for one in app.button if one.label == label).click()
    return settled(app)


def texts(elements: object) -> str:
    """What is read on the page: Markdown without its escapes."""
    found = " ".join(str(one.value) for one in elements)  # type: ignore[attr-defined]
    return re.sub(r"\\(\W|_)", r"\1", found)


def _dashboard() -> None:
    """The page that the session names, beside the sidebar."""
    from importlib import import_module
    from pathlib import Path

    import streamlit as st

    from simlora.dashboard import jobs, sidebar, state

    state.open_session()
    sidebar.scenario_sidebar(Path())
    import_module(f"simlora.dashboard.page_{st.session_state['page']}").show()
    sidebar.link_sidebar()
    jobs.watch()


def opened(page: str, **query: Any) -> AppTest:
    """A session that begins at a page, by a link with these parameters."""
    app = AppTest.from_function(_dashboard, default_timeout=60)
    app.session_state["page"] = page
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def go(app: AppTest, page: str) -> AppTest:
    app.session_state["page"] = page
    return settled(app)


def control(app: AppTest, label: str) -> Any:
    """The control with that label."""
    kinds = (app.number_input, app.selectbox, app.multiselect, app.toggle, app.button_group)
    return next(one for kind in kinds for one in kind if one.label == label)


def labels(app: AppTest) -> set[str]:
    kinds = (app.number_input, app.selectbox, app.slider, app.button, app.toggle)
    return {one.label for kind in kinds for one in kind}
