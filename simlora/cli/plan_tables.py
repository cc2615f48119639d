"""Tables that `plan` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.planning.plan import Plan
from simlora.planning.search import words
from simlora.planning.search.branch import Found
from simlora.planning.search.flags import servers
from simlora.planning.search.peak import Peak
from simlora.planning.search.promises import WORDS
from simlora.planning.search.trials import Confirmation


def plan_tables(plan: Plan) -> RenderableType:
    """The fleet, what shows that it is enough, what else there is, and how to start it."""
    parts: list[RenderableType] = []
    if plan.max_cost_usd is not None and not plan.within_budget and not plan.interrupted:
        parts += [*(Text(line) for line in words.over_budget(plan)), Text("")]
    if plan.best is None:
        if plan.interrupted:
            parts.append(Text("Interrupted before any fleet was found to meet every promise."))
        else:
            parts += [Text(line) for line in words.infeasible(plan)]
    else:
        parts += _best(plan, plan.best)
    if plan.regrown:
        parts += [Text(""), Text("What if", style="bold"), *map(Text, words.regrown(plan))]
    parts += [Text(""), Text(words.effort(plan), style="dim")]
    return Group(*parts)


def command_lines(plan: Plan) -> str:
    """How to start a replica of the fleet with servers people run, as text to copy."""
    lines: list[str] = []
    for server in () if plan.best is None else servers(plan.best.scenario):
        lines += ["", f"# {server.name}, options of {server.checked}"]
        lines += [f"# {note}" for note in server.notes]
        lines.append(server.line)
    return "\n".join(lines)


def peak_tables(peak: Peak) -> RenderableType:
    """The load that a fleet holds, and what shows that it does."""
    parts: list[RenderableType] = [Text(line) for line in words.headroom(peak)]
    if peak.confirmation is not None:
        parts += [Text(""), _evidence(peak.confirmation)]
    return Group(*parts)


def _best(plan: Plan, best: Found) -> list[RenderableType]:
    head = Text("cheapest fleet " + ("" if plan.within_budget else "at any cost "), style="bold")
    head.append(f"{best.name}, ${best.usd_per_month:,.0f} a month")
    parts: list[RenderableType] = [head, Text("")]
    parts += [_evidence(best.confirmation), Text(words.confidence(plan)), Text("")]
    if not plan.monotone:
        parts += [
            Text(
                "One replica more misses a promise, so promises are not kept ever better with more "
                "replicas here, and a cheaper fleet may have been missed."
            ),
            Text(""),
        ]
    if plan.peak is not None:
        parts += [*map(Text, words.headroom(plan.peak)), Text("")]
    if len(plan.by_gpu) > 1:
        parts += [_fleets("cheapest by GPU", plan.by_gpu), Text("")]
    if len(plan.front) > 1:
        parts.append(_fleets("cost against p99 TTFT, of the fleets confirmed", plan.front))
    return parts


def _evidence(confirmation: Confirmation) -> Table:
    table = _table("tier")
    table.add_column("promise", no_wrap=True)
    for head in ("worst run", "requests", "broken <=", "allowed"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in confirmation.evidence:
        promise = one.promise
        table.add_row(
            Text(promise.tier_name),
            f"{WORDS[promise.bound]} {promise.figure(promise.value)}",
            "-" if one.worst is None else promise.figure(one.worst),
            f"{one.requests:,}",
            f"{one.upper:.2%}",
            f"{promise.allowed:.2%}",
        )
    return table


def _fleets(title: str, fleets: Sequence[Found]) -> Table:
    table = _table(title)
    for head in ("USD a month", "p99 TTFT", "of a bound used"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in fleets:
        table.add_row(
            Text(one.name),
            f"{one.usd_per_month:,.0f}",
            f"{one.ttft_p99_s:.3g} s",
            f"{one.used:.0%}",
        )
    return table


def _table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=8, vertical="bottom")
    return table
