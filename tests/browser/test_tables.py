"""Tables in a real browser: a grid in a wide window, on a phone cards that fit the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.dashboard.kpis import KPIS
from simlora.dashboard.text import unbroken
from simlora.results.result import load_result
from tests.browser.conftest import Open
from tests.browser.dashboard import (
    charts,
    idle,
    metric,
    overflows,
    press,
    set_number,
    tables_too_wide,
)

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
WIDE = {"width": 1280, "height": 900}
CARDS = ".simlora-cards"


def policies(page: Any) -> None:
    page.get_by_text("Nothing compared yet").wait_for()
    set_number(page, "Replications", "2")
    press(page, "Compare")
    page.get_by_text("Means of 2 replications").wait_for()


def plan(page: Any) -> None:
    page.get_by_text("Nothing planned yet").wait_for()
    set_number(page, "At most replicas", "2")
    press(page, "Find the cheapest fleet")
    page.get_by_text("What shows that it is enough").wait_for()


def three_runs(page: Any) -> None:
    page.get_by_text("GPU memory by owner").wait_for()
    for count in (2, 3):
        idle(page)  # a list that opens while the page is drawn anew closes by itself
        page.get_by_role("combobox", name="Runs").click()
        page.get_by_role("option").first.click()
        page.get_by_text("GPU memory by owner:").nth(count - 1).wait_for()
    idle(page)


def two_summaries(page: Any) -> None:
    page.get_by_text("Every figure of the two summaries").click()


def cost(page: Any) -> None:
    press(page, "Tell the cost")
    metric(page, "Month")
    page.get_by_text("tenants that cost most").wait_for()


def tiers(page: Any) -> None:
    press(page, "Simulate")
    page.get_by_text("Who hurts whom").wait_for()


TABLES = {
    "policies": (policies, 1),
    "plan": (plan, 1),
    "runs": (three_runs, 1),
    "fidelity": (two_summaries, 1),
    "cost": (cost, 2),
    "tiers": (tiers, 1),
}


@pytest.mark.parametrize("path", TABLES)
def test_no_table_is_wider_than_a_phone(open_page: Open, runs: Path, path: str) -> None:
    fill, tables = TABLES[path]
    page = open_page(path, **PHONE)
    fill(page)
    cards = page.locator(CARDS)
    cards.nth(tables - 1).wait_for()
    idle(page)
    assert not overflows(page)
    assert tables_too_wide(page) == []
    assert cards.count() == tables
    assert not any(grid.is_visible() for grid in page.get_by_test_id("stDataFrame").all())


def test_a_card_tells_what_the_summaries_of_the_runs_say(open_page: Open, runs: Path) -> None:
    page = open_page("runs", **PHONE)
    three_runs(page)
    chosen = page.locator(f"{CARDS} section").first.locator("dt").all_inner_texts()
    summaries = [load_result(runs / name).summary for name in chosen]
    assert len(set(chosen)) == len(chosen) >= 3  # those that the page begins with, and two more
    for kpi in KPIS:
        card = page.locator(f"{CARDS} section").filter(has=page.get_by_text(kpi.label, exact=True))
        told = card.locator("dd").all_inner_texts()
        assert told == [unbroken(kpi.told(kpi.of(summary))) for summary in summaries]


def test_a_window_that_is_made_wider_has_the_grid_in_place_of_the_cards(
    open_page: Open, runs: Path
) -> None:
    page = open_page("fidelity", **PHONE)
    two_summaries(page)
    page.locator(CARDS).wait_for()
    page.set_viewport_size(WIDE)
    page.locator(CARDS).wait_for(state="hidden")
    grid = page.get_by_test_id("stDataFrame")
    grid.locator("canvas").first.wait_for()
    assert grid.bounding_box()["width"] > PHONE["viewport"]["width"]
    page.set_viewport_size(PHONE["viewport"])
    page.locator(CARDS).wait_for()
    assert tables_too_wide(page) == []


def test_a_difference_that_is_cut_is_told_beside_its_arrow(open_page: Open) -> None:
    """Who is answered by the base model meanwhile waits much less for adapters."""
    values = "".join(f"&policies_adapters.cold_start={name}" for name in ("base_model", "wait"))
    of = "policy_field=Cold+start&policy_replications=1&difference_of=sum+of+adapter+waits"
    page = open_page(f"policies?{of}{values}")
    page.get_by_text("Nothing compared yet").wait_for()
    press(page, "Compare")
    page.get_by_text("Difference to the baseline: sum of adapter waits").wait_for()
    charts(page, 1)
    drawn = page.get_by_test_id("stVegaLiteChart").first
    label = drawn.locator(".mark-text.role-mark text")
    label.wait_for()
    cells = page.get_by_test_id("stHtml").locator("section", has_text="sum of adapter waits")
    told = label.text_content()
    assert told.startswith(("×", "+"))
    assert unbroken(told) in cells.locator("dd").last.text_content()
    colour = "e => [getComputedStyle(e).fill, getComputedStyle(e.closest('.stApp')).color]"
    assert len(set(label.evaluate(colour))) == 1
