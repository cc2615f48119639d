"""The report's section on money: what tenants cost, and what other ways would."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

from simlora.cost.money import dollars, percent
from simlora.report.plot import Plot, embedded
from simlora.report.table import paragraph, table
from simlora.results.result import Result
from simlora.scenario.cost import Cost

if TYPE_CHECKING:
    from simlora.cost.analysis import Costs
    from simlora.scenario.schema import Scenario

_TENANTS_CAPTION = (
    "What each tenant costs a month, from the dearest on, and what it pays; the axis of money is "
    "logarithmic. Tenants that cost nothing have no mark, and of a tier at most 400 have one."
)
_WAYS_CAPTION = (
    "What one tenant costs a month, by its queries a month; both axes are logarithmic. The broad "
    "band is on the cheapest, the marks are this run's tenants on shared LoRA. Only money is "
    "compared, not what answers are worth."
)


def cost_section(result: Result, salt: str) -> str:
    """HTML of the section; nothing of a run whose scenario says nothing of money, or that was made
    before runs took down who used what."""
    found = _found(result)
    if found is None:
        return ""
    drawn = [embedded(plot, f"{salt}-cost{i}") for i, plot in enumerate(money_plots(found))]
    return "\n".join(
        (
            "<h2>What it costs</h2>",
            paragraph(sentence(found)),
            tiers_table(found),
            bill_table(found),
            *drawn,
        )
    )


def cost_plots(result: Result) -> list[Plot]:
    """The figures of the section; none where there is no section."""
    found = _found(result)
    return [] if found is None else money_plots(found)


def _found(result: Result) -> Costs | None:
    from simlora.cost.analysis import costs, scenario_of
    from simlora.cost.usage import NotTakenDown
    from simlora.errors import UserError

    try:
        scenario = scenario_of(result)  # it was checked for the run: only older ones do not load
    except UserError:
        return None
    try:
        return costs(result, scenario) if _asked(scenario) else None
    except NotTakenDown:
        return None


def _asked(scenario: Scenario) -> bool:
    return scenario.cost != Cost() or any(t.price_usd_month for t in scenario.tiers.values())


def sentence(found: Costs) -> str:
    """What a month costs, and how that is divided."""
    idle = "spread over tenants" if found.idle == "spread" else "on a line of their own"
    measure = found.attribution.replace("gpu_", "GPU-").replace("_", " ")
    return (
        f"A month that goes on as this run did costs {dollars(found.month.usd)}, "
        f"{dollars(found.units.tenant_month)} a tenant. The fleet's bill is divided by "
        f"{measure}; idle GPUs are {idle}."
    )


def tiers_table(found: Costs) -> str:
    """Cost and margin of each tier, as HTML."""
    rows = []
    for name, row in found.tiers.iterrows():
        money = [dollars(row[f"{kind}_usd"]) for kind in ("cost", "price", "credit", "margin")]
        rows.append([escape(str(name)), f"{int(row['tenants']):,}", *money])
    if found.month.nobody_usd > 0:
        rows.append(["nobody (idle GPUs)", "", dollars(found.month.nobody_usd), "", "", ""])
    heads = ("tier", "tenants", "cost", "price", "credit", "margin")
    return table("cost", heads, rows, "Cost and margin of a month by tier")


def bill_table(found: Costs) -> str:
    """What the month's bill is made of, as HTML."""
    lines = [(name, usd) for name, usd in found.month.bill.items() if usd]
    whole = found.month.usd
    rows = [[name, dollars(usd), percent(usd / whole)] for name, usd in lines]
    return table("cost", ("the bill of a month", "USD", "of all"), rows, "The bill of a month")


def money_plots(found: Costs) -> list[Plot]:
    """What tenants cost, and what other ways to serve them would."""
    from simlora.report.cost_figures import break_even_curves, cost_by_tenant

    return [
        Plot("Cost by tenant", _TENANTS_CAPTION, partial(cost_by_tenant, found)),
        Plot("Other ways to serve a tenant", _WAYS_CAPTION, partial(break_even_curves, found)),
    ]
