"""Tables that `cost` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.cost.analysis import Costs
from simlora.cost.money import dollars, percent
from simlora.report.words import counted, number, size

_NOTE = (
    "A month is 720 hours that go on as the run did. Ways are compared by money alone: prompting, "
    "retrieval and training do not give the same answers."
)


def cost_tables(found: Costs, top: int) -> RenderableType:
    """The bill, who pays it, and what other ways would cost. In 80 columns."""
    parts: list[RenderableType] = [Text(_head(found)), Text(""), _bill(found), Text("")]
    parts += [_tiers(found), Text("")]
    if top and len(found.tenants):
        parts += [Text(_top(found, top)), Text(""), _tenants(found.tenants, top), Text("")]
    parts += [_units(found), Text("")]
    parts += [Text("The same demand, served otherwise; a month's queries are one tenant's:")]
    parts += [Text(""), _ways(found), Text("")]
    parts += [Text(line) for line in _setup(found)] + [Text("")]
    parts += [Text(line) for line in _reigns(found)] + [Text("")]
    for lines in (_dedications(found), _life(found), _growth(found)):
        if lines:
            parts += [*map(Text, lines), Text("")]
    if found.places:
        parts += [Text("Adapters in GPU memory, with every place taken:"), Text("")]
        parts += [_places(found), Text("")]
    return Group(*parts, Text(_NOTE, style="dim"))


def _head(found: Costs) -> str:
    idle = "spread over tenants" if found.idle == "spread" else "on a line of their own"
    return (
        f"{found.name}: {dollars(found.month.usd)} a month, by {found.attribution}, idle GPUs "
        f"{idle}. The run itself cost {dollars(found.run_usd)}."
    )


def _bill(found: Costs) -> Table:
    table = _table("the bill of a month", "USD", "of all")
    whole = found.month.usd
    for name, usd in found.month.bill.items():
        if usd:
            table.add_row(name, dollars(usd), percent(usd / whole))
    table.add_section()
    table.add_row("all", dollars(whole), "")
    return table


def _tiers(found: Costs) -> Table:
    table = _table("tier", "tenants", "cost", "price", "credit", "margin", "of price")
    for name, row in found.tiers.iterrows():
        table.add_row(Text(str(name)), f"{int(row['tenants']):,}", *_money(row))
    if found.month.nobody_usd > 0:
        table.add_row("nobody (idle)", "", dollars(found.month.nobody_usd))
    table.add_section()
    sums = found.tenants[["cost_usd", "price_usd", "credit_usd", "margin_usd"]].sum()
    sums["cost_usd"] += found.month.nobody_usd
    sums["margin_usd"] -= found.month.nobody_usd
    sums["margin"] = sums["margin_usd"] / sums["price_usd"] if sums["price_usd"] else math.nan
    table.add_row("all", f"{len(found.tenants):,}", *_money(sums))
    return table


def _top(found: Costs, top: int) -> str:
    shown = min(top, len(found.tenants))
    return f"The {counted(shown, 'tenant')} that cost most, of {len(found.tenants):,}:"


def _tenants(rows: pd.DataFrame, top: int) -> Table:
    table = _table("tenant", "tier", "cost", "price", "credit", "margin", "of price")
    for _, row in rows.nlargest(top, "cost_usd", keep="first").iterrows():
        table.add_row(Text(row["tenant"]), Text(row["tier"]), *_money(row))
    return table


def _money(row: pd.Series) -> list[str]:
    figures = [dollars(row[f"{name}_usd"]) for name in ("cost", "price", "credit", "margin")]
    return [*figures, percent(row["margin"])]


def _units(found: Costs) -> Table:
    units = found.units
    table = _table("one of", "costs")
    for name, usd in (
        ("a tenant, a month", units.tenant_month),
        ("an adapter, a month", units.adapter_month),
        ("a million tokens", units.million_tokens),
        ("a million input tokens", units.million_input_tokens),
        ("a million output tokens", units.million_output_tokens),
        ("a thousand requests", units.thousand_requests),
    ):
        table.add_row(name, dollars(usd))
    if found.training is not None:
        trained = found.training
        table.add_row(f"a training ({number(trained.gpu_hours)} GPU-hours)", dollars(trained.usd))
    return table


def _ways(found: Costs) -> Table:
    table = _table("way", "USD a\nmonth", "a tenant", "cheaper than shared LoRA")
    tenants = max(len(found.tenants), 1)
    for name, usd in sorted(found.same_demand.items(), key=lambda item: item[1]):
        table.add_row(name, dollars(usd), dollars(usd / tenants), _when(found, name))
    return table


def _when(found: Costs, name: str) -> str:
    point = found.break_evens.get(name)
    if point is None or point.queries is None:
        return point.cheaper if point is not None else ""
    first = "first " if point.again else ""
    return f"{first}{point.cheaper} {point.queries:,.0f} queries"


def _setup(found: Costs) -> list[str]:
    if not found.setup_usd_month:
        return []
    source = "cost.training" if found.training else "cost.alternatives.lora_setup_usd"
    everybody = dollars(found.setup_usd_month * len(found.tenants))
    told = (
        f"Ways with LoRA have set-up in them: {dollars(found.setup_usd_month)} a tenant a month, "
        f"{everybody} in all, of {dollars(found.setup_usd)} an adapter "
        f"({source}). The bill has not."
    )
    return [told]


def _reigns(found: Costs) -> list[str]:
    lines = ["Cheapest for one tenant, by its queries a month:"]
    for reign in found.reigns:
        lines.append(f"  {reign.name}: {reign.from_queries:,.0f} to {reign.to_queries:,.0f}")
    return lines


def _dedications(found: Costs) -> list[str]:
    lines = []
    for one in found.dedications:
        answer = "dedicate" if one.by_penalty else "do not dedicate"
        lines.append(
            f"{one.tenant}: {answer} by penalty: {dollars(one.credit_usd)} is given back, an "
            f"instance costs {dollars(one.dedicated_usd)}."
        )
        also = "would" if one.by_cost else "would not"
        lines.append(
            f"  With the {dollars(one.shared_usd)} that it costs on the shared fleet it {also} pay."
        )
    return lines


def _life(found: Costs) -> list[str]:
    lines = []
    moved, again, gone = found.migration, found.retraining, found.deletion
    if again is not None:
        lines.append(
            f"Retraining: {number(again.per_day)} adapters a day on "
            f"{counted(again.slots, 'training')} at once; all at once would take "
            f"{number(again.days)} days."
        )
    if moved is not None:
        verdict = "within the window" if moved.fits else "too long for the window"
        remedy = "" if moved.fits else f", which takes {moved.gpus_needed:,} GPUs"
        if not moved.fits and not moved.gpus_needed:
            remedy = ", in which not even one training fits"
        lines.append(
            f"Migration: {counted(moved.adapters, 'adapter')}, {number(moved.gpu_hours)} "
            f"GPU-hours ({dollars(moved.training_usd)}) in {number(moved.hours / 24)} days, "
            f"{verdict}{remedy}."
        )
        lines.append(
            f"  Both bases meanwhile: {dollars(moved.serving_usd)} for the second fleet; at the "
            f"peak {size(moved.peak_weight_bytes)} of weights and "
            f"{size(moved.peak_adapter_bytes)} of adapters."
        )
    if gone.last_days is not None or gone.in_time is False:
        known = {name: days for name, days in gone.days.items() if days is not None}
        last = max(known, key=lambda name: known[name])
        verdict = "in time" if gone.in_time else "too late"
        lines.append(
            f"Deletion: gone from {last} last, after {number(known[last])} days; due after "
            f"{number(gone.due_days)}: {verdict}."
        )
    return lines


def _growth(found: Costs) -> list[str]:
    if not found.growth:
        return []
    last = found.growth[-1]
    first_more = next((later for later in found.growth if later.fleet_factor > 1), None)
    when = "" if first_more is None else f"; more GPUs are needed from month {first_more.month} on"
    told = (
        f"Growth: in {counted(last.month, 'month')} {number(last.output_factor)} times the output "
        f"tokens, {number(last.fleet_factor)} times the GPUs, {dollars(last.usd)} a month{when}."
    )
    return [told]


def _places(found: Costs) -> Table:
    table = _table("GPUs", "model", "weights", "adapters", "USD an\nadapter-month")
    for place in found.places:
        table.add_row(
            f"{place.gpus} x {place.gpu}",
            Text(place.model),
            place.weights,
            f"{place.adapters:,}",
            dollars(place.usd_per_adapter),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=8, vertical="bottom")
    left: Sequence[str] = ("tier", "model", "weights")
    for head in others:
        table.add_column(head, justify="left" if head in left else "right", no_wrap=True)
    return table
