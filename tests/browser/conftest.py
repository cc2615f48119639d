"""A running dashboard and a real browser; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simlora import load_scenario, simulate
from tests.browser.server import ROOT, chromium, dashboard

Open = Callable[..., Any]
SMALL = {"workload.duration_s": 40, "run.report": False}


@pytest.fixture(scope="session", autouse=True)
def _browser_is_installed() -> None:
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium")


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server runs: its ./runs is here."""
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="session")
def runs(directory: Path) -> Path:
    """Result directories in the server's ./runs, `two` the newest and then `one`."""
    base = load_scenario(ROOT / "simlora/dashboard/data/what-if.yaml", SMALL)
    for name, replicas in (("three", 3), ("one", 1), ("two", 2)):
        simulate(base.with_overrides({"fleet.0.replicas": replicas}), out=directory / "runs" / name)
    return directory / "runs"


@pytest.fixture(scope="session")
def address(directory: Path) -> Iterator[str]:
    """The address of a dashboard that was started for these tests."""
    with dashboard(directory) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(
    browser: Any, address: str, request: pytest.FixtureRequest, tmp_path_factory: Any
) -> Iterator[Open]:
    """Opens pages, each in a session of its own. At the end of the test they must have met no
    error: none in the console, no exception box. A screenshot of each is kept."""
    shots = Path(os.environ.get("SIMLORA_SCREENSHOTS") or tmp_path_factory.getbasetemp() / "shots")
    shots.mkdir(parents=True, exist_ok=True)
    pages: list[Any] = []
    errors: list[str] = []

    def told(message: Any) -> None:
        # Streamlit asks for its own health below the page's path first, and then at the root.
        own = "/_stcore/" in str(message.location.get("url", ""))
        if message.type == "error" and not own:
            errors.append(f"{message.text} ({message.location.get('url')})")

    def opened(path: str = "", **look: Any) -> Any:
        look.setdefault("viewport", {"width": 1280, "height": 900})
        page = browser.new_context(**look).new_page()
        page.set_default_timeout(60_000)
        page.on("console", told)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/{path}")
        pages.append(page)
        return page

    yield opened
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    for number, page in enumerate(pages):
        shot = shots / f"{name}-{number}.png"
        page.screenshot(path=shot)
        print(f"screenshot: {shot}")
        boxes = page.get_by_test_id("stException").count()
        page.context.close()
        assert boxes == 0
    assert errors == []
