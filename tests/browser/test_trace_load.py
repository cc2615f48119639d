"""An uploaded trace as the load, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simlora import load_scenario, simulate
from tests.browser.conftest import Open
from tests.browser.dashboard import (
    CHANGED,
    await_result,
    charts,
    idle,
    metric,
    overflows,
    press,
    set_number,
    tables_too_wide,
)

TRACE = Path(__file__).parents[2] / "traces/bursty.parquet"
OWN_LOAD = "Use the scenario's own load"


def use_trace(page: Any, file: Path = TRACE) -> None:
    """Upload a trace on its page, read it, and take it as the load."""
    page.get_by_text("Nothing uploaded yet").wait_for()
    page.get_by_test_id("stMain").locator("input[type=file]").set_input_files(file)
    press(page, "Read the trace")
    press(page, "Use this trace as the load")
    page.get_by_text("This trace is the load of every page").wait_for()
    idle(page)


def go(page: Any, title: str) -> None:
    page.get_by_role("link", name=title, exact=True).click()
    page.get_by_role("heading", name=title, exact=True, level=1).wait_for()


def test_an_uploaded_trace_is_replayed_and_the_way_back_is_found(open_page: Open) -> None:
    page = open_page()
    before = metric(page, "TTFT p99")
    go(page, "Trace")
    use_trace(page)
    sidebar = page.get_by_test_id("stSidebar")
    sidebar.get_by_text("6,611 requests of 200 tenants").wait_for()
    assert page.get_by_role("spinbutton", name="Requests per second").count() == 0
    go(page, "What if")
    page.get_by_text(CHANGED).wait_for()
    press(page, "Simulate")
    await_result(page)
    replayed = metric(page, "TTFT p99")
    assert replayed != before
    page.get_by_text("6,611 requests in").wait_for()
    charts(page, 6)
    set_number(page, "Speed of the replay (times)", "0.5")
    page.get_by_text(CHANGED).wait_for()
    press(page, "Simulate")
    await_result(page)
    assert metric(page, "TTFT p99") != replayed
    press(page, OWN_LOAD)
    page.get_by_role("spinbutton", name="Requests per second").wait_for()
    press(page, "Simulate")
    await_result(page)
    assert metric(page, "TTFT p99") == before
    assert "trace=" not in page.url


def test_the_downloads_run_on_the_command_line_to_the_same_figures(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page("trace")
    use_trace(page)
    set_number(page, "Requests of the trace", "500")
    page.get_by_text("Up to 500 requests").wait_for()
    for name, file in (
        ("Download scenario (YAML)", "what-if.yaml"),
        ("Download trace (Parquet)", "bursty-load.parquet"),
    ):
        with page.expect_download() as download:
            press(page, name)
        assert download.value.suggested_filename == file
        download.value.save_as(tmp_path / file)
    assert len(pd.read_parquet(tmp_path / "bursty-load.parquet")) == 500
    here = simulate(load_scenario(tmp_path / "what-if.yaml")).summary
    assert here["requests"]["offered"] == 500
    go(page, "What if")
    press(page, "Simulate")
    page.get_by_text("500 requests in").wait_for()
    assert metric(page, "Completed") == f"{here['requests']['completed'] / 5:.3g} %"


def test_a_link_to_a_replay_asks_for_the_trace_and_then_replays_it_as_set(open_page: Open) -> None:
    page = open_page("trace")
    use_trace(page)
    set_number(page, "Speed of the replay (times)", "3")
    page.wait_for_url("**replay_speed=3*")
    go(page, "What if")
    page.wait_for_url(lambda url: "/trace?" not in url and "replay_speed=3" in url)
    other = open_page(f"?{page.url.partition('?')[2]}")
    notice = other.get_by_test_id("stSidebar").get_by_test_id("stAlert")
    notice.filter(has_text="This link replays the trace bursty.parquet").wait_for()
    metric(other, "TTFT p99")
    go(other, "Trace")
    use_trace(other)
    notice.wait_for(state="detached")
    speed = other.get_by_role("spinbutton", name="Speed of the replay (times)")
    assert speed.input_value() == "3"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_controls_of_a_replay_fit_a_phone(open_page: Open, scheme: str) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    page = open_page("trace", **phone)
    use_trace(page)
    page.get_by_text("Who of the trace is called what").click()
    page.locator(".simlora-cards").wait_for()
    assert not overflows(page)
    assert tables_too_wide(page) == []
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("spinbutton", name="Speed of the replay (times)").wait_for()
    assert not overflows(page)
