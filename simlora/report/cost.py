"""The report's section on money: what tenants cost, and what other ways would."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from simlora.report.style import styled, to_svg
from simlora.report.words import share
from simlora.results.result import Result
from simlora.scenario.cost import Cost

if TYPE_CHECKING:
    from simlora.cost.analysis import Costs
    from simlora.scenario.schema import Scenario

_TENANTS_CAPTION = (
    "What each tenant costs a month, from the dearest on, and what it pays; the axis of money is "
    "logarithmic. Of more than 400 tenants, 400 are shown."
)
_WAYS_CAPTION = (
    "What one tenant costs a month, by its queries a month; both axes are logarithmic. The broad "
    "band is on the cheapest, the marks are this run's tenants on shared LoRA. Only money is "
    "compared, not what answers are worth."
)


def cost_section(result: Result, salt: str) -> str:
    """HTML of the section; nothing of a run whose scenario says nothing of money, or that was made
    before runs took down who used what."""
    from simlora.cost.analysis import costs, scenario_of
    from simlora.errors import UserError

    try:
        scenario = scenario_of(result)
        if not _asked(scenario):
            return ""
        found = costs(result, scenario)
    except UserError:
        return ""
    return "\n".join(
        (
            "<h2>What it costs</h2>",
            f"<p>{escape(_sentence(found))}</p>",
            _tiers(found),
            _bill(found),
            _figures(found, salt),
        )
    )


def _asked(scenario: Scenario) -> bool:
    return scenario.cost != Cost() or any(t.price_usd_month for t in scenario.tiers.values())


def dollars(amount: float) -> str:
    """Money in whole dollars, to the cent below 100."""
    sign = "−" if amount < 0 else ""
    return f"{sign}${abs(amount):,.0f}" if abs(amount) >= 100 else f"{sign}${abs(amount):,.2f}"


def _sentence(found: Costs) -> str:
    idle = "spread over tenants" if found.idle == "spread" else "on a line of their own"
    return (
        f"A month that goes on as this run did costs {dollars(found.month.usd)}, "
        f"{dollars(found.units.tenant_month)} a tenant. The fleet's bill is divided by "
        f"{found.attribution}, idle GPUs are {idle}."
    )


def _tiers(found: Costs) -> str:
    rows = []
    for name, row in found.tiers.iterrows():
        money = [dollars(row[f"{kind}_usd"]) for kind in ("cost", "price", "credit", "margin")]
        rows.append([escape(str(name)), f"{int(row['tenants']):,}", *money])
    if found.month.nobody_usd > 0:
        rows.append(["nobody (idle GPUs)", "", dollars(found.month.nobody_usd), "", "", ""])
    return _table(["tier", "tenants", "cost", "price", "credit", "margin"], rows)


def _bill(found: Costs) -> str:
    lines = [(name, usd) for name, usd in found.month.bill.items() if usd]
    whole = found.month.usd
    rows = [[name, dollars(usd), share(usd / whole)] for name, usd in lines]
    return _table(["the bill of a month", "USD", "of all"], rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for cells in rows
    )
    return (
        f"<div class=wide><table class=cost><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _figures(found: Costs, salt: str) -> str:
    from simlora.report.cost_figures import break_even_curves, cost_by_tenant

    parts = []
    for index, (title, caption, draw) in enumerate(
        (
            ("Cost by tenant", _TENANTS_CAPTION, cost_by_tenant),
            ("Other ways to serve a tenant", _WAYS_CAPTION, break_even_curves),
        )
    ):
        with styled():
            figure = draw(found)
        svg = to_svg(figure, f"{salt}-cost{index}")
        parts.append(
            f"<h3>{title}</h3>\n<figure><div class=wide>{svg}</div>"
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "\n".join(parts)
