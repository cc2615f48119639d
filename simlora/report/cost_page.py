"""The page of `simlora cost`: the bill of a month, who pays it, and what other ways would cost."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from simlora.cost.money import dollars, percent
from simlora.errors import UserError
from simlora.report.basis import assumptions, provenance
from simlora.report.cost import bill_table, money_plots, sentence, tiers_table
from simlora.report.limits import limits_of
from simlora.report.opening import cost_sentence
from simlora.report.page import page
from simlora.report.plot import embedded
from simlora.report.table import paragraph, table
from simlora.report.tiles import Tile, tile_row
from simlora.report.words import counted

if TYPE_CHECKING:
    from simlora.cost.analysis import Costs
    from simlora.results.result import Result

_MOST_TENANTS = 10
_MONTH = (
    "A month is 720 hours that go on as the run did. Ways are compared by money alone: prompting, "
    "retrieval and training do not give the same answers."
)


def write_costs(found: Costs, result: Result, out: Path) -> Path:
    """Write the page of what a run costs to the file `out`.

    Raises:
        UserError: the file cannot be written, or a table of the result cannot be read.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(cost_page(found, result), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"{out}: cannot write the report: {error.strerror or error}") from error
    return out


def cost_page(found: Costs, result: Result) -> str:
    """The page, by the prices that `found` was worked out with."""
    name = escape(found.name)
    drawn = [embedded(plot, plot.file) for plot in money_plots(found)]
    body = (
        f"<h1>What {name} costs</h1>",
        "<h2>Summary</h2>",
        f"<p class=opening>{escape(sentence(found))}</p>",
        tile_row(_tiles(found)),
        "<h2>What limits this fleet</h2>",
        *map(paragraph, (cost_sentence(result.summary), *limits_of(result))),
        "<h2>Who pays what</h2>",
        tiers_table(found),
        bill_table(found),
        "<h2>The dearest tenants</h2>",
        _tenants(found),
        "<h2>The same demand, served otherwise</h2>",
        _ways(found),
        "<h2>Figures</h2>",
        *drawn,
        assumptions(result),
        paragraph(_MONTH),
        provenance(result),
    )
    return page(f"simlora: what {name} costs", "\n".join(body))


def _tiles(found: Costs) -> list[Tile]:
    units, sums = found.units, found.tenants[["price_usd", "margin_usd"]].sum()
    margin_usd = float(sums["margin_usd"]) - found.month.nobody_usd
    told = "no tenant pays anything"
    if sums["price_usd"]:
        told = f"{percent(margin_usd / float(sums['price_usd']))} of what tenants pay"
    return [
        ("The bill of a month", dollars(found.month.usd), f"the run: {dollars(found.run_usd)}"),
        ("A tenant, a month", dollars(units.tenant_month), counted(len(found.tenants), "tenant")),
        ("A million output tokens", dollars(units.million_output_tokens), "of all that is billed"),
        ("Margin of a month", dollars(margin_usd), told),
    ]


def _tenants(found: Costs) -> str:
    rows = [
        (escape(str(row["tenant"])), escape(str(row["tier"])), *_money(row))
        for _, row in found.tenants.nlargest(_MOST_TENANTS, "cost_usd", keep="first").iterrows()
    ]
    heads = ("tenant", "tier", "cost", "price", "credit", "margin")
    return table("tenants", heads, rows, "The dearest tenants")


def _money(row: pd.Series) -> list[str]:
    return [dollars(row[f"{kind}_usd"]) for kind in ("cost", "price", "credit", "margin")]


def _ways(found: Costs) -> str:
    """What each way would cost for all tenants, cheapest first."""
    tenants = max(len(found.tenants), 1)
    rows = [
        (escape(name), dollars(usd), dollars(usd / tenants))
        for name, usd in sorted(found.same_demand.items(), key=lambda item: item[1])
    ]
    return table("cost", ("way", "USD a month", "a tenant"), rows, "Other ways to serve")
