"""The tiles at the top of a report: a run in eight figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from simlora.report.fleet_words import price_words
from simlora.report.measured import from_outside
from simlora.report.words import counted, duration, number, share, size, tokens, usd

Tile = tuple[str, str, str]  # what it is, the figure, a note


def tiles(summary: dict[str, Any]) -> str:
    """The tiles, as HTML."""
    return tile_row(_tiles(summary))


def tile_row(found: Sequence[Tile]) -> str:
    """Tiles from plain text, as HTML."""
    inner = "".join(
        f"<div class=tile><small>{escape(label)}</small><b>{escape(value)}</b>"
        f"<small>{escape(note)}</small></div>"
        for label, value, note in found
    )
    return f"<div class=tiles>{inner}</div>"


def _tiles(summary: dict[str, Any]) -> list[Tile]:
    requests, throughput, cost = summary["requests"], summary["throughput"], summary["cost"]
    completed = requests["completed"] / requests["offered"] if requests["offered"] else None
    outside = from_outside(summary)
    price = price_words(cost) + (", if the fleet is the scenario's" if outside else "")
    return [
        ("Requests", f"{requests['offered']:,}", f"{share(completed)} completed"),
        (
            "Throughput",
            f"{number(throughput['requests_per_s'])} req/s",
            f"{number(throughput['output_tokens_per_s'])} output tokens/s",
        ),
        _latency(summary, "Time to first token", "ttft_s"),
        _latency(summary, "Time per output token", "tpot_s"),
        *(_seen(summary) if outside else _inside(summary)),
        ("A million output tokens", usd(cost["usd_per_million_output_tokens"]), price),
    ]


def _latency(summary: dict[str, Any], name: str, metric: str) -> Tile:
    figures = summary["latency"][metric]
    return f"{name}, p99", duration(figures["p99"]), f"median {duration(figures['p50'])}"


def _seen(summary: dict[str, Any]) -> list[Tile]:
    """What a client can tell beside that."""
    seen = [
        _latency(summary, "Between two tokens", "itl_s"),
        _latency(summary, "End to end", "e2e_s"),
    ]
    return [*seen, _prefix(summary)] if summary["prefix_cache"]["lookup_tokens"] else seen


def _inside(summary: dict[str, Any]) -> list[Tile]:
    adapters, memory = summary["adapters"], summary["memory"]
    return [
        (
            "Adapter hits in GPU memory",
            share(adapters["hit_ratio"]),
            f"{counted(adapters['loads'], 'load')}, {size(adapters['bytes_loaded'])}",
        ),
        _cache_or_batch(summary),
        (
            "KV capacity",
            f"{tokens(memory.get('kv_capacity_tokens'))} tokens",
            f"beside {size(memory.get('weight_bytes'))} of weights, with no adapter loaded",
        ),
    ]


def _cache_or_batch(summary: dict[str, Any]) -> Tile:
    """The prefix cache, where the traffic has prefixes to share."""
    batch = summary["batch"]
    if summary["prefix_cache"]["lookup_tokens"]:
        return _prefix(summary)
    return (
        "Running at once on a replica",
        number(batch["mean_running"]),
        f"at most {batch['max_num_seqs']:,}",
    )


def _prefix(summary: dict[str, Any]) -> Tile:
    prefix = summary["prefix_cache"]
    saved = f"{tokens(prefix['hit_tokens'])} prompt tokens not computed"
    return "Prefix cache hits", share(prefix["hit_ratio"]), saved
