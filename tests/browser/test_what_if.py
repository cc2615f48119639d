"""The first page in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.dashboard.pages import PAGES
from tests.browser.conftest import Open
from tests.browser.dashboard import (
    CHANGED,
    await_result,
    charts,
    metric,
    overflows,
    press,
    set_number,
)

ROOT = Path(__file__).parents[2]
PATHS = ["", *(entry.path for entry in PAGES[1:])]


def test_the_first_result_comes_unasked(open_page: Open) -> None:
    page = open_page()
    assert metric(page, "TTFT p99").endswith("ms")
    assert metric(page, "Found hot").endswith("%")
    charts(page, 6)


def test_another_load_gives_other_figures_beside_the_pinned_ones(open_page: Open) -> None:
    page = open_page()
    before = metric(page, "TTFT p99")
    press(page, "Pin this result")
    page.get_by_role("button", name="Unpin").wait_for()
    set_number(page, "Requests per second", "14")
    page.get_by_text(CHANGED).wait_for()
    press(page, "Simulate")
    card = page.get_by_test_id("stMetric").filter(has_text="TTFT p99").first
    card.get_by_test_id("stMetricDelta").filter(has_text="%").wait_for()
    assert metric(page, "TTFT p99") != before
    page.get_by_text("GPU memory by owner, pinned").first.wait_for()


def test_a_simulation_can_be_cancelled_and_the_page_lives_on(open_page: Open) -> None:
    page = open_page()
    before = metric(page, "TTFT p99")
    set_number(page, "Requests per second", "40")
    set_number(page, "Duration (s)", "4900")
    page.get_by_text("About 196,000 requests").wait_for()
    press(page, "Simulate")
    press(page, "Cancel")
    page.get_by_test_id("stProgress").wait_for(state="detached")
    assert metric(page, "TTFT p99") == before
    set_number(page, "Duration (s)", "30")
    page.get_by_text("About 1,200 requests").wait_for()
    press(page, "Simulate")
    await_result(page)
    assert metric(page, "TTFT p99") != before


def test_too_much_is_refused_in_a_sentence(open_page: Open) -> None:
    page = open_page()
    metric(page, "TTFT p99")
    set_number(page, "Duration (s)", "900000")
    page.get_by_text("About 7,200,000 requests").wait_for()
    press(page, "Simulate")
    alert = page.get_by_test_id("stAlert").filter(has_text="more than the 200,000")
    alert.wait_for()
    assert "7,200,000 requests" in alert.inner_text()


def test_two_sessions_do_not_see_each_other(open_page: Open) -> None:
    one, other = open_page(), open_page()
    before = metric(other, "TTFT p99")
    metric(one, "TTFT p99")
    set_number(one, "Replicas", "3")
    one.wait_for_url("**?s=*")
    press(one, "Simulate")
    await_result(one)
    one.get_by_test_id("stMetricValue").filter(has_text="$4,3").wait_for()
    other.get_by_role("radio", name="TPOT").first.click(force=True)
    assert metric(other, "TTFT p99") == before
    assert other.get_by_role("spinbutton", name="Replicas", exact=True).input_value() == "1"


def test_a_link_restores_the_scenario_in_another_session(open_page: Open) -> None:
    page = open_page()
    metric(page, "TTFT p99")
    set_number(page, "Requests per second", "11")
    page.wait_for_url("**?s=*")
    first = page.url
    set_number(page, "Hot adapters per replica", "48")
    page.wait_for_url(lambda url: url != first)
    query = page.url.partition("?")[2]
    assert len(query) < 400
    restored = open_page(f"?{query}")
    metric(restored, "TTFT p99")
    for label, value in (("Requests per second", "11"), ("Hot adapters per replica", "48")):
        field = restored.get_by_role("spinbutton", name=label, exact=True)
        assert field.input_value() == value


def test_a_damaged_link_is_told_in_a_sentence(open_page: Open) -> None:
    page = open_page("?s=AAAAnonsense")
    page.get_by_test_id("stAlert").filter(has_text="this link").wait_for()
    assert metric(page, "TTFT p99")


def test_a_scenario_is_downloaded_and_uploaded_again(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    metric(page, "TTFT p99")
    set_number(page, "Replicas", "2")
    page.wait_for_url("**?s=*")
    with page.expect_download() as download:
        press(page, "Download scenario (YAML)")
    kept = tmp_path / "kept.yaml"
    download.value.save_as(kept)
    text = kept.read_text().replace("name: what-if", "name: mine")
    assert "replicas: 2" in text
    kept.write_text(text)
    other = open_page()
    metric(other, "TTFT p99")
    other.get_by_text("Upload a scenario").click()
    other.get_by_test_id("stSidebar").locator("input[type=file]").set_input_files(kept)
    other.wait_for_url("**?s=*")
    assert other.get_by_role("spinbutton", name="Replicas", exact=True).input_value() == "2"


def test_a_malformed_scenario_is_told_in_a_sentence(open_page: Open, tmp_path: Path) -> None:
    page = open_page()
    metric(page, "TTFT p99")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((ROOT / "scenarios/quickstart.yaml").read_text().replace("zipf", "zpif"))
    page.get_by_text("Upload a scenario").click()
    page.get_by_test_id("stSidebar").locator("input[type=file]").set_input_files(wrong)
    alert = page.get_by_test_id("stSidebar").get_by_test_id("stAlert").filter(has_text="zpif")
    alert.wait_for()
    assert alert.inner_text().startswith("wrong.yaml:")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone(open_page: Open, path: str, scheme: str) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    page = open_page(path, **phone)
    page.get_by_role("heading", level=1).wait_for()
    if not path:
        charts(page, 6)
    assert not overflows(page)
