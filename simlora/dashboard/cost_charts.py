"""The cost of a month drawn: the bill, margins by tier and tenant, units and break-evens."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import USD, axis, coloured, log_axis, nothing, panel
from simlora.dashboard.cost_figures import CostFigures
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped
from simlora.report.style import BLUE, GREEN, YELLOW
from simlora.report.words import share, usd

_MOST_TENANTS = 15
_LONGEST_PINNED = 20  # characters
_UNITS = {
    "tenant_month": ("A tenant", "USD a month of one tenant, on average."),
    "adapter_month": ("An adapter", "USD a month of one adapter, on average."),
    "million_tokens": ("1M tokens", "USD of a million tokens, prompt and output together."),
    "million_input_tokens": ("1M tokens in", "USD of a million prompt tokens."),
    "million_output_tokens": ("1M tokens out", "USD of a million output tokens."),
    "thousand_requests": ("1k requests", "USD of a thousand requests."),
}
_MONEY = {
    "cost_usd": ("cost", YELLOW),
    "price_usd": ("price", BLUE),
    "margin_usd": ("margin", GREEN),
}


def draw(found: CostFigures) -> None:
    """Everything that the page tells."""
    _cards(found)
    st.caption(
        escaped(
            f"{found.name}: divided by {found.attribution.replace('_', ' ')}; the run itself cost "
            f"{usd(found.run_usd)}. A month is 720 hours that go on as the run did."
        )
    )
    if found.dedication:
        st.markdown(escaped(found.dedication))
    left, right = st.columns(2, gap="medium")
    with left:
        _bill(found)
        _tiers(found)
        _same_demand(found)
    with right:
        _ways(found)
    _tenants(found)


def _cards(found: CostFigures) -> None:
    cards: list[tuple[str, float | None, str]] = [
        ("Month", found.month_usd, "USD of everything for a month of 720 hours.")
    ]
    if found.nobody_usd:
        cards.append(
            ("Idle, unpaid", found.nobody_usd, "USD a month of idle GPUs that no tenant pays for.")
        )
    cards += [
        (label, found.units[key], about)
        for key, (label, about) in _UNITS.items()
        if found.units.get(key) is not None
    ]
    with st.container(horizontal=True, gap="small", key="cards_cost"):
        for label, value, about in cards:
            st.metric(label, _usd(value), help=about, border=True, width=150)


def _bill(found: CostFigures) -> None:
    table = pd.DataFrame(
        [
            {"line": name, "usd": amount, "told": f"{usd(amount)}, {_part(amount, found)}"}
            for name, amount in found.bill.items()
        ]
    )
    title, about = "The bill of a month", "What each line comes to, USD a month."
    if not len(table):
        nothing(title, about, "The bill is 0: the GPUs have no price.")
        return
    chart = (
        alt.Chart(table)
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("usd:Q", axis=axis("USD a month", USD, tickCount=5)),
            y=alt.Y("line:N", sort="-x", axis=axis(None, labelLimit=120)),
            tooltip=["line:N", alt.Tooltip("told:N", title="of the bill")],
        )
    )
    panel(title, about, chart, 10 + 28 * len(table))


def _tiers(found: CostFigures) -> None:
    names = [label for label, _ in _MONEY.values()]
    table = (
        found.tiers.rename(columns={key: label for key, (label, _) in _MONEY.items()})
        .melt(["tier", "tenants"], names, "money", "usd")
        .assign(told=lambda rows: [_usd(float(value)) for value in rows["usd"]])
    )
    chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("usd:Q", axis=axis("USD a month", USD, tickCount=5)),
            y=alt.Y("tier:N", sort=None, axis=axis(None, labelLimit=90)),
            yOffset=alt.YOffset("money:N", sort=names),
            color=coloured("money", names, [colour for _, colour in _MONEY.values()]),
            tooltip=["tier:N", "tenants:Q", "money:N", alt.Tooltip("told:N", title="USD a month")],
        )
    )
    panel(
        "Cost, price and margin by tier",
        "All tenants of a tier together, USD a month. The margin is the price less the cost and "
        "less what is given back for missed promises.",
        chart,
        20 + 54 * len(found.tiers),
        names,
    )


def _ways(found: CostFigures) -> None:
    table = found.ways[found.ways["usd"] > 0].assign(
        told=lambda rows: [_usd(float(value)) for value in rows["usd"]]
    )
    title = "A tenant's month, by way of serving"
    about = (
        "What one tenant costs a month by its queries a month, under each way that the scenario "
        "has prices for. Ways are compared by money alone: they do not give the same answers."
    )
    if not len(table):
        nothing(title, about, "No way of serving has a price here.")
        return
    names = list(dict.fromkeys(table["way"]))
    chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("queries:Q", **log_axis("queries a month (log scale)", table["queries"])),
            y=alt.Y("usd:Q", **log_axis("USD a month (log scale)", table["usd"], USD)),
            color=coloured("way", names),
            strokeDash=alt.StrokeDash("way:N", scale=alt.Scale(domain=names), legend=None),
            tooltip=[
                "way:N",
                alt.Tooltip("queries:Q", format=",.3~s", title="queries a month"),
                alt.Tooltip("told:N", title="USD a month"),
            ],
        )
    )
    panel(title, about, chart, 200, names)
    for name, when in found.break_evens.items():
        cheaper = "cheaper than shared LoRA"
        told = {
            "always": f"{cheaper} at any number of queries",
            "never": f"never {cheaper}",
        }.get(when, f"{cheaper} {when} a month")
        st.caption(escaped(f"{name}: {told}."))


def _same_demand(found: CostFigures) -> None:
    rows = [
        {"way": name, "cost": _usd(amount), "a tenant": _usd(amount / max(len(found.tenants), 1))}
        for name, amount in sorted(found.same_demand.items(), key=lambda item: item[1])
    ]
    st.markdown(
        "**The same demand, served otherwise**",
        help="USD a month of all tenants together, and of one on average. Each way is paid for "
        "what it would have to hold ready.",
    )
    show_table(
        pd.DataFrame(rows),
        {
            "way": st.column_config.TextColumn(help="How requests are served."),
            "cost": st.column_config.TextColumn("USD a month", help="All tenants together."),
            "a tenant": st.column_config.TextColumn(help="USD a month, on average."),
        },
    )


def _tenants(found: CostFigures) -> None:
    """The tenants that cost most."""
    money = ("cost_usd", "price_usd", "credit_usd", "margin_usd")
    rows = found.tenants.nlargest(_MOST_TENANTS, "cost_usd")
    dearest = pd.DataFrame(
        {
            "tenant": rows["tenant"],
            **{name: [_usd(float(value)) for value in rows[name]] for name in money},
            "requests": [f"{value:,.0f}" for value in rows["requests"]],
            "tier": rows["tier"].astype(str),
        }
    )
    st.markdown(
        f"**The {len(rows)} tenants that cost most, of {len(found.tenants):,}**",
        help="USD a month, and requests a month.",
    )
    heads = {
        "cost_usd": ("cost", "Its part of the bill, USD a month."),
        "price_usd": ("price", "What it pays, USD a month."),
        "credit_usd": ("credit", "What is given back for missed promises, USD a month."),
        "margin_usd": ("margin", "Price less credit and cost, USD a month."),
    }
    show_table(
        dearest,
        {
            "tenant": st.column_config.TextColumn(
                # A longer one would leave no room beside it in a narrow window.
                pinned=bool(dearest["tenant"].str.len().max() <= _LONGEST_PINNED),
                help="The tenant's name.",
            ),
            "tier": st.column_config.TextColumn(help="Its SLA tier."),
            "requests": st.column_config.TextColumn(help="Requests a month."),
            **{
                name: st.column_config.TextColumn(label, help=about)
                for name, (label, about) in heads.items()
            },
        },
    )


def _usd(value: float | None) -> str:
    """Dollars, a loss with its sign."""
    if value is None or math.isnan(value):
        return "—"
    if not value:
        return "$0"
    return usd(value) if value > 0 else f"−{usd(-value)}"


def _part(amount: float, found: CostFigures) -> str:
    return share(amount / found.month_usd) if found.month_usd else "—"
