"""What several tests do with a page of the dashboard."""

from __future__ import annotations

from typing import Any

CHANGED = "The settings have changed since this result"
_COMPUTING = "These figures are of the earlier settings"


def await_result(page: Any) -> None:
    """Wait until what is shown is of the present settings, and all of it is drawn."""
    page.get_by_text(CHANGED).wait_for(state="detached")
    page.get_by_text(_COMPUTING).wait_for(state="detached")
    idle(page)


def idle(page: Any) -> None:
    """Wait until the page has been drawn to its end."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def metric(page: Any, label: str) -> str:
    """The figure on the card with that label."""
    card = page.get_by_test_id("stMetric").filter(has_text=label).first
    card.wait_for()
    return str(card.get_by_test_id("stMetricValue").inner_text()).strip()


def set_number(page: Any, label: str, value: str) -> None:
    """Type a number into a field and leave it."""
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(value)
    field.press("Enter")


def press(page: Any, name: str) -> None:
    """Press a button once it can be."""
    page.get_by_role("button", name=name, exact=True).click()


def charts(page: Any, least: int) -> list[str]:
    """What is drawn in the charts, once there are that many: their text as the screen reader would
    have it, and their size."""
    drawn = page.get_by_test_id("stVegaLiteChart")
    drawn.nth(least - 1).wait_for()
    page.wait_for_function(
        "least => [...document.querySelectorAll('[data-testid=stVegaLiteChart]')]"
        ".filter(e => e.querySelector('canvas, svg')).length >= least",
        arg=least,
    )
    return [str(text) for text in drawn.all_inner_texts()]


def overflows(page: Any) -> bool:
    """Whether anything makes the page wider than its window."""
    return bool(
        page.evaluate(
            "() => { const m = document.querySelector('[data-testid=stMain]');"
            " return document.documentElement.scrollWidth > innerWidth + 1"
            " || m.scrollWidth > m.clientWidth + 1; }"
        )
    )


def tables_too_wide(page: Any) -> list[str]:
    """The visible tables that reach beyond the window or scroll sideways."""
    return list(
        page.evaluate(
            "() => [...document.querySelectorAll('[data-testid=stDataFrame], [data-testid=stTable],"
            " .simlora-cards')].filter(table => table.offsetParent).filter(table => {"
            " const box = table.getBoundingClientRect();"
            " return box.left < 0 || box.right > innerWidth + 1"
            " || [table, ...table.querySelectorAll('*')].some(part =>"
            " ['auto', 'scroll'].includes(getComputedStyle(part).overflowX)"
            " && part.scrollWidth > part.clientWidth + 1); })"
            ".map(table => table.dataset.testid + ' ' + table.className)"
        )
    )
