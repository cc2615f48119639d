"""The pictures in the README: `python -m tests.browser.gallery` makes docs/images anew."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simlora import load_scenario, simulate
from simlora.report import write_report
from tests.browser.dashboard import await_result, charts, idle, metric, press, set_number
from tests.browser.server import ROOT, chromium, dashboard

IMAGES = ROOT / "docs/images"
WIDTH = 1280
BELOW = 900  # pixels of a picture's height
SETTLED_MS = 1500  # charts and fonts are drawn after the page says that it is done


def main() -> None:
    """Draw all of them, each in a session of its own."""
    IMAGES.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="simlora-") as scratch, chromium() as browser:
        directory = Path(scratch)
        with dashboard(directory) as address:
            for name, path, prepare in (
                ("what-if", "", _pinned),
                ("tiers", "tiers", _tiers),
                ("plan", "plan", _plan),
                ("cost", "cost", _cost),
            ):
                page = browser.new_context(viewport={"width": WIDTH, "height": BELOW}).new_page()
                page.set_default_timeout(180_000)
                page.goto(f"{address}/{path}")
                prepare(page)
                _shoot(page, name)
        run = directory / "report"
        write_report(simulate(load_scenario(ROOT / "scenarios/noisy-neighbour.yaml"), out=run))
        page = browser.new_context(viewport={"width": WIDTH, "height": BELOW}).new_page()
        page.goto((run / "report.html").as_uri())
        _shoot(page, "report")


def _pinned(page: Any) -> None:
    metric(page, "TTFT p99")
    press(page, "Pin this result")
    set_number(page, "Replicas", "2")
    press(page, "Simulate")
    await_result(page)
    charts(page, 5)


def _tiers(page: Any) -> None:
    press(page, "Simulate")
    page.get_by_text("Who hurts whom").wait_for()
    charts(page, 7)


def _plan(page: Any) -> None:
    set_number(page, "At most replicas", "8")
    press(page, "Find the cheapest fleet")
    page.get_by_text("What shows that it is enough").wait_for()
    charts(page, 1)


def _cost(page: Any) -> None:
    press(page, "Tell the cost")
    metric(page, "Month")
    charts(page, 3)


def _shoot(page: Any, name: str) -> None:
    if "127.0.0.1" in page.url:
        idle(page)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=IMAGES / f"{name}.png")
    print(IMAGES / f"{name}.png")
    page.context.close()


if __name__ == "__main__":
    main()
