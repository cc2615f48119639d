"""Tables that commands print."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.report.words import duration, number, share, size, usd


def summary_table(summary: dict[str, Any]) -> RenderableType:
    """A run in one screen: totals, then latencies and promises by tier."""
    return Group(_totals(summary), Text(""), _tiers(summary))


def _totals(summary: dict[str, Any]) -> Table:
    requests, throughput, cost = summary["requests"], summary["throughput"], summary["cost"]
    adapters, simulation = summary["adapters"], summary["simulation"]
    lost = ", ".join(
        f"{requests[status]:,} {status}"
        for status in ("rejected", "failed", "unfinished")
        if requests[status]
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    table.add_row(
        "requests",
        f"{requests['offered']:,} offered, {requests['completed']:,} completed"
        + (f", {lost}" if lost else ""),
    )
    table.add_row(
        "throughput",
        f"{number(throughput['requests_per_s'])} requests/s, "
        f"{number(throughput['input_tokens_per_s'])} input and "
        f"{number(throughput['output_tokens_per_s'])} output tokens/s",
    )
    table.add_row(
        "adapters",
        f"{share(adapters['hit_ratio'])} hit, {adapters['loads']:,} loads "
        f"({size(adapters['bytes_loaded'])}), {adapters['evictions']:,} evictions",
    )
    if summary["prefix_cache"]["hit_tokens"]:
        table.add_row(
            "prefix cache", f"{share(summary['prefix_cache']['hit_ratio'])} of prompt tokens hit"
        )
    table.add_row(
        "batch",
        f"{number(summary['batch']['mean_running'])} running on average, busy "
        f"{share(summary['batch']['busy_ratio'])} of the time, "
        f"{summary['batch']['preemptions']:,} preemptions",
    )
    table.add_row(
        "cost",
        f"{usd(cost['fleet_usd'])} for {cost['gpus']} GPUs over {duration(simulation['span_s'])}, "
        f"{usd(cost['usd_per_million_output_tokens'])} per million output tokens",
    )
    table.add_row(
        "simulated",
        f"{duration(simulation['span_s'])} in {duration(simulation['wall_s'])}, "
        f"{number(simulation['requests_per_wall_s'])} requests per wall second"
        + (" (interrupted)" if simulation["interrupted"] else ""),
    )
    return table


def _tiers(summary: dict[str, Any]) -> Table:
    table = Table(header_style="bold")
    table.add_column("tier")
    for head in ("requests", "TTFT p50", "p99", "TPOT p50", "p99", "E2E p50", "p99"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("SLA", justify="right", no_wrap=True)
    everything = {"requests": summary["requests"], **summary["latency"]}
    for name, tier in summary["tiers"].items():
        table.add_row(Text(name), *_latencies(tier), _verdict(tier))
    if len(summary["tiers"]) > 1:
        table.add_section()
        table.add_row("all", *_latencies(everything), "")
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


def _verdict(tier: dict[str, Any]) -> Text:
    if not tier["sla"]:
        return Text("—")
    missed = [bound for bound, entry in tier["sla"].items() if entry["met"] is False]
    attained = share(tier["sla_attainment"])
    if not missed:
        return Text(f"met, {attained}", style="green")
    names = ", ".join(bound.removesuffix("_s").replace("_", " ") for bound in missed)
    return Text(f"missed {names}, {attained}", style="red")
