"""Links in a real browser: the page's own controls are in them, and those of no other page."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Open
from tests.browser.dashboard import idle, metric, press, set_number

# Whether the sidebar's link has all that the address has: it is drawn a moment later.
_SAME = """() => {
  const link = document.querySelector('[data-testid=stSidebar] [data-testid=stCode] code');
  if (!link) return false;
  const shown = new URL(link.innerText).searchParams;
  return [...new URLSearchParams(location.search)].every(([k, v]) => shown.getAll(k).includes(v));
}"""


def choose(page: Any, label: str, option: str) -> None:
    """Choose an option of a list; the browser draws only some of many."""
    box = page.get_by_role("combobox", name=label, exact=True)
    box.click()
    box.fill(option)
    page.get_by_role("option", name=option, exact=True).click()
    idle(page)


def number(page: Any, label: str) -> str:
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.wait_for()
    return str(field.input_value())


def chosen(page: Any, label: str) -> str:
    box = page.get_by_role("combobox", name=label, exact=True)
    box.wait_for()
    return str(box.input_value())


def restored(open_page: Open, page: Any) -> Any:
    """The link that the sidebar shows, opened in a session of its own."""
    page.get_by_text("Link to this page").click()
    page.wait_for_function(_SAME)
    link = page.get_by_test_id("stSidebar").get_by_test_id("stCode").locator("code")
    address, _, query = link.inner_text().partition("?")
    other = open_page(f"{address.partition('://')[2].partition('/')[2]}?{query}")
    other.get_by_role("heading", level=1).wait_for()
    return other


def test_a_link_restores_what_policies_are_compared(open_page: Open) -> None:
    page = open_page("policies")
    page.get_by_text("Nothing compared yet").wait_for()
    set_number(page, "Seed", "3")
    page.wait_for_url("**s=*")
    idle(page)
    choose(page, "Compare", "Fairness")
    page.get_by_test_id("stMultiSelect").filter(has_text="wfq").wait_for()
    set_number(page, "Replications", "5")
    page.wait_for_url("**policy_replications=5*")
    choose(page, "Policies, the baseline first", "drr")
    page.wait_for_url("**=drr*")
    other = restored(open_page, page)
    assert chosen(other, "Compare") == "Fairness"
    assert number(other, "Replications") == "5"
    assert number(other, "Seed") == "3"
    tags = other.get_by_test_id("stMultiSelect").inner_text().split("\n")
    assert [tag for tag in tags if tag in ("fcfs", "wfq", "vtc", "drr")] == tags[-4:]


def test_a_link_restores_the_noisy_neighbour(open_page: Open) -> None:
    page = open_page("tiers")
    page.get_by_text("Nothing simulated yet").wait_for()
    choose(page, "Tenant", "gold-0003")
    choose(page, "Protection", "both")
    set_number(page, "Replications", "3")
    page.get_by_text("Noisy neighbour", exact=True).click()
    for setting in ("protection=both", "harm_replications=3", "noisy=false"):
        page.wait_for_url(f"**{setting}*")
    other = restored(open_page, page)
    assert chosen(other, "Tenant") == "gold-0003"
    assert chosen(other, "Protection") == "both"
    assert number(other, "Replications") == "3"
    assert not other.get_by_test_id("stMain").locator("input[type=checkbox]").is_checked()


def test_a_link_restores_how_a_bill_is_divided_and_a_plan_is_searched(open_page: Open) -> None:
    page = open_page("cost")
    page.get_by_text("Nothing reckoned yet").wait_for()
    choose(page, "Divide the bill by", "residency")
    choose(page, "Dedicate an instance to", "silver-0002")
    page.wait_for_url("**cost_tenant=silver-0002*")
    other = restored(open_page, page)
    assert chosen(other, "Divide the bill by") == "residency"
    assert chosen(other, "Dedicate an instance to") == "silver-0002"
    page.get_by_role("link", name="Plan", exact=True).click()
    page.get_by_text("Nothing planned yet").wait_for()
    assert "cost_" not in page.url
    set_number(page, "At most replicas", "3")
    set_number(page, "Budget (USD a month)", "5000")
    page.wait_for_url("**plan_budget=5000*")
    other = open_page(f"plan?{page.url.partition('?')[2]}")
    assert number(other, "At most replicas") == "3"
    assert number(other, "Budget (USD a month)") == "5000"


def test_a_link_restores_the_latency_that_is_drawn(open_page: Open) -> None:
    page = open_page()
    metric(page, "TTFT p99")
    page.get_by_role("radio", name="TPOT").first.click(force=True)
    page.wait_for_url("**latency_metric=TPOT*")
    other = restored(open_page, page)
    other.get_by_text("TPOT by tier").first.wait_for()
    assert other.get_by_role("radio", name="TPOT").first.is_checked()


def test_controls_are_kept_where_they_were_while_other_pages_are_looked_at(
    open_page: Open,
) -> None:
    page = open_page("policies")
    page.get_by_text("Nothing compared yet").wait_for()
    set_number(page, "Replications", "6")
    page.wait_for_url("**policy_replications=6*")
    page.get_by_role("link", name="Tiers", exact=True).click()
    page.get_by_text("Nothing simulated yet").wait_for()
    assert number(page, "Replications") == "2"
    assert "policy_" not in page.url
    page.get_by_role("link", name="Policies", exact=True).click()
    page.get_by_text("Nothing compared yet").wait_for()
    page.wait_for_url("**policy_replications=6*")
    assert number(page, "Replications") == "6"


def test_nonsense_in_a_link_is_taken_out_of_it(open_page: Open) -> None:
    page = open_page("policies?policy_replications=many&policy_field=Weather")
    page.get_by_text("Nothing compared yet").wait_for()
    page.wait_for_url(lambda url: "Weather" not in url and "many" not in url)
    assert number(page, "Replications") == "3"
    press(page, "Compare")
    page.get_by_text("Means of 3 replications").wait_for()
