"""Tables that `harm` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.report.words import counted, duration, number, share

if TYPE_CHECKING:
    from simlora.planning.harm import Harm


def harm_tables(found: Harm, top: int) -> RenderableType:
    """The p99 TTFT of the others with and without the tenant: of all of them, by tier, and of the
    `top` tenants that are most affected. In 80 columns."""
    several = len(found.seeds) > 1
    tiers = found.of("tier")
    groups = _table("others", "requests", *_HEADS, "change")
    for _, row in found.of("all").iterrows():
        groups.add_row("all", *_cells(row), _change(row))
    if len(tiers) > 1:
        for _, row in tiers.iterrows():
            groups.add_row(Text(f"tier {row['name']}"), *_cells(row), _change(row))
    parts: list[RenderableType] = [Text(_head(found)), Text(""), groups, Text("")]
    affected = found.most_affected(top)
    if len(affected):
        tenants = _table("tenant", "requests", *_HEADS, "tier")
        for _, row in affected.iterrows():
            tenants.add_row(Text(row["name"]), *_cells(row), Text(row["tier"]))
        parts += [Text("Most affected, by seconds of p99:"), Text(""), tenants, Text("")]
    elif found.requests and top:
        parts += [Text("No other tenant's p99 grew."), Text("")]
    lost = _lost(found)
    parts += [Text(lost)] if lost else []
    parts.append(
        Text(
            "p99 of completed requests"
            + (
                f", mean of {len(found.seeds)} replications (seeds {found.seeds[0]} to "
                f"{found.seeds[-1]}); ± is the 95 % t-interval of the paired difference. "
                if several
                else f" (seed {found.seeds[0]}); --replications tells how sure the change is. "
            )
            + "The p99 of a tenant with few requests is its slowest one.",
            style="dim",
        )
    )
    return Group(*parts)


_HEADS = ("p99 TTFT\nwith", "p99 TTFT\nwithout", "ratio")


def _head(found: Harm) -> str:
    if not found.requests:
        return f"{found.tenant} has no request in this run, so that nothing changes without it."
    per = " in all replications" if len(found.seeds) > 1 else ""
    return f"With and without the {counted(found.requests, 'request')} of {found.tenant}{per}:"


def _cells(row: Any) -> list[str]:
    ratio = row["ratio"]
    return [
        f"{int(row['requests']):,}",
        _duration(row["ttft_p99_with_s"]),
        _duration(row["ttft_p99_without_s"]),
        "—" if math.isnan(ratio) else "1" if ratio == 1 else number(float(ratio)),
    ]


def _change(row: Any) -> str:
    change_s, low_s, high_s = row["change_s"], row["low_s"], row["high_s"]
    if math.isnan(change_s):
        return "—"
    told = f"{'+' if change_s > 0 else ''}{duration(float(change_s))}"
    if math.isnan(low_s) or low_s == high_s:
        return told
    return f"{told} ± {duration(float(high_s - low_s) / 2)}"


def _lost(found: Harm) -> str:
    """What the p99 leaves out: requests that did not complete, if the tenant made a difference."""
    (row,) = (row for _, row in found.of("all").iterrows())
    if row["completed_with"] == row["completed_without"]:
        return ""
    return (
        f"Of the others' requests, {share(float(row['completed_with']))} completed with "
        f"{found.tenant} and {share(float(row['completed_without']))} without; a p99 knows "
        "only those.\n"
    )


def _duration(seconds: float) -> str:
    return duration(None if math.isnan(seconds) else float(seconds))


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=8, vertical="bottom")
    for head in others:
        if head == "tier":
            table.add_column(head, overflow="fold", vertical="bottom")
        else:
            table.add_column(head, justify="right", no_wrap=True)
    return table
