"""Tables that commands print."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.report.fairness_words import budget, indexes, longest_wait
from simlora.report.fleet_words import fleet_words, is_mixed, price_words, rented_words
from simlora.report.interruptions import preemptions_words
from simlora.report.measured import from_outside
from simlora.report.refusals import refusal_heads, refusal_rows
from simlora.report.version_words import HEADS, rollouts, version_rows
from simlora.report.words import (
    counted,
    duration,
    load_troubles,
    lost,
    number,
    prefetches,
    promise,
    share,
    size,
    timing_basis,
    usd,
)
from simlora.results.schema import MEASURED


def summary_table(summary: dict[str, Any]) -> RenderableType:
    """A run in one screen of 80 columns: totals, then latencies and promises by tier."""
    parts: list[RenderableType] = [_totals(summary), Text(""), _tiers(summary)]
    if any(tier["sla"] for tier in summary["tiers"].values()):
        parts += [Text(""), _promises(summary)]
    if refusal_rows(summary):
        parts += [Text(""), _refusals(summary)]
    if summary.get("versions"):
        parts += [Text(""), _versions(summary), *map(Text, rollouts(summary))]
    return Group(*parts)


def _totals(summary: dict[str, Any]) -> Table:
    requests, throughput, cost = summary["requests"], summary["throughput"], summary["cost"]
    adapters, batch = summary["adapters"], summary["batch"]
    simulation = summary["simulation"]
    not_completed, retries = lost(requests), summary.get("clients", {}).get("retries")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "requests",
        f"{requests['offered']:,} offered, {requests['completed']:,} completed"
        + (f", {not_completed}" if not_completed else "")
        + (f"; clients asked again {retries:,} times" if retries else ""),
    )
    table.add_row(
        "throughput",
        f"{number(throughput['requests_per_s'])} requests/s, "
        f"{number(throughput['input_tokens_per_s'])} input and "
        f"{number(throughput['output_tokens_per_s'])} output tokens/s",
    )
    outside = from_outside(summary)  # then this is all that is known
    if not outside:
        _add_adapters(table, adapters)
    if summary["prefix_cache"]["hit_tokens"]:
        table.add_row(
            "prefix cache", f"{share(summary['prefix_cache']['hit_ratio'])} of prompt tokens hit"
        )
    if not outside:
        table.add_row(
            "batch",
            f"{number(batch['mean_running'])} running per replica, busy "
            f"{share(batch['busy_ratio'])} of the time, {preemptions_words(summary)}",
        )
    fairness = summary.get("fairness")
    wait = "" if outside else longest_wait(fairness)
    for head, told in (("fairness", indexes(fairness)), ("longest wait", wait)):
        if told:
            table.add_row(head, Text(told))
    table.add_row(
        "cost",
        f"{price_words(cost)}, "
        f"{usd(cost['usd_per_million_output_tokens'])} per million output tokens"
        + (", if the fleet is the scenario's" if outside else ""),
    )
    if rented_words(summary) and not outside:
        table.add_row("replicas", rented_words(summary))
    if is_mixed(simulation):
        table.add_row("fleet", Text(fleet_words(simulation)))
    if simulation["timing"]["profile"] != "roofline":
        head = "server" if outside else "timing"
        table.add_row(head, Text(timing_basis(simulation["timing"])))
    interrupted = " (interrupted)" if simulation["interrupted"] else ""
    if simulation["timing"]["hash"] == MEASURED:
        table.add_row("served", f"for {duration(simulation['span_s'])}{interrupted}")
    else:
        table.add_row(
            "simulated",
            f"{duration(simulation['span_s'])} in {duration(simulation['wall_s'])}, "
            f"{number(simulation['requests_per_wall_s'])} requests per second of real time"
            f"{interrupted}",
        )
    return table


def _add_adapters(table: Table, adapters: dict[str, Any]) -> None:
    table.add_row(
        "adapters",
        f"{share(adapters['hit_ratio'])} found in GPU memory, "
        f"{counted(adapters['loads'], 'load')} ({size(adapters['bytes_loaded'])}), "
        f"{counted(adapters['evictions'], 'eviction')}",
    )
    for head, told in (("loads", load_troubles(adapters)), ("prefetch", prefetches(adapters))):
        if told:
            table.add_row(head, told)
    if adapters.get("base_model_token_share"):
        table.add_row(
            "cold start",
            f"{share(adapters['base_model_token_share'])} of adapters' output tokens came from the "
            "base model",
        )


def _tiers(summary: dict[str, Any]) -> Table:
    table = _plain_table("tier")
    for head in ("requests", "TTFT p50", "p99", "TPOT p50", "p99", "E2E p50", "p99"):
        table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
    offered = sum(tier["requests"]["offered"] for tier in summary["tiers"].values())
    everything = {"requests": {"offered": offered}, **summary["latency"]}
    for name, tier in summary["tiers"].items():
        table.add_row(Text(name), *_latencies(tier))
    if len(summary["tiers"]) > 1:
        table.add_section()
        table.add_row("all", *_latencies(everything))
    return table


def _latencies(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures['requests']['offered']:,}",
        *(
            duration(figures[metric][percentile])
            for metric in ("ttft_s", "tpot_s", "e2e_s")
            for percentile in ("p50", "p99")
        ),
    ]


def _promises(summary: dict[str, Any]) -> Table:
    table = _plain_table("tier")
    table.add_column("promise", overflow="fold")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    spending = any(
        budget(tier, bound) for tier in summary["tiers"].values() for bound in tier["sla"]
    )
    if spending:
        table.add_column("error budget", justify="right", no_wrap=True)
    for name, tier in summary["tiers"].items():
        if not tier["sla"]:
            continue
        for bound, entry in tier["sla"].items():
            asked, measured, verdict = promise(bound, entry)
            colour = {"met": "green", "missed": "bold red"}.get(verdict, "")
            spent = [budget(tier, bound)] if spending else []
            table.add_row(Text(name), asked, measured, Text(verdict, style=colour), *spent)
        table.add_row(Text(name), "requests within every bound", share(tier["sla_attainment"]), "")
    return table


def _refusals(summary: dict[str, Any]) -> Table:
    first, *heads = refusal_heads(summary)
    table = _plain_table(first)
    for head in heads:
        table.add_column(Text(head), justify="right")
    for name, *counts in refusal_rows(summary):
        table.add_row(Text(name), *counts)
    return table


def _versions(summary: dict[str, Any]) -> Table:
    table = _plain_table(HEADS[0])
    for head in HEADS[1:]:
        table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
    for name, *figures in version_rows(summary):
        table.add_row(Text(name), *figures)
    return table


def _plain_table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold", min_width=8, vertical="bottom")
    return table
