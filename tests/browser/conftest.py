"""A running dashboard and a real browser; skipped, with the reason, where either is missing."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STARTS_WITHIN_S = 60.0

Open = Callable[..., Any]


def _missing() -> str:
    for module in ("streamlit", "playwright"):
        if find_spec(module) is None:
            return f"{module} is not installed"
    return "" if shutil.which("chromium") else "there is no chromium"


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server runs: its ./runs is here."""
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="session")
def address(directory: Path) -> Iterator[str]:
    """The address of a dashboard that was started for these tests."""
    if _missing():
        pytest.skip(_missing())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (directory / "server.log").open("wb")
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
        "--server.headless=true",
        "--server.address=127.0.0.1",
        f"--server.port={port}",
        "--browser.gatherUsageStats=false",
        "--server.fileWatcherType=none",
    ]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths}
    with (
        log,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        ) as server,
    ):
        try:
            _await_health(f"http://127.0.0.1:{port}/_stcore/health", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _await_health(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            raise RuntimeError(f"the dashboard ended with exit code {server.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1.0) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the dashboard did not start")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    if _missing():
        pytest.skip(_missing())
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


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
