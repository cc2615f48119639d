"""What several tests do with a page that has no browser."""

from __future__ import annotations

import re
import time

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
