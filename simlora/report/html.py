"""`report.html`: one self-contained page per run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.report.limits import what_limits
from simlora.report.page import page
from simlora.report.words import duration, number, share, size, usd
from simlora.results.files import REPORT, RESOLVED_SCENARIO
from simlora.results.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LATENCY_CAPTION = (
    "Dots are percentiles of completed requests; a green bar is what the tier promises for its p99."
)
_PHASES_CAPTION = (
    "Left: the phases of a request add up to its end-to-end time. Right: the 99th percentile of "
    "each phase on its own; these do not add up, and a "
    "phase without a mark was 0."
)
_LOAD_CAPTION = "Lines are means, bands the least and the most within each interval."
_ADAPTERS_CAPTION = "A lookup is a request whose adapter is looked for when it reaches its replica."


def write_report(result: Result, out: Path | None = None) -> Path:
    """Write the report of a run, by default as `report.html` into its directory.

    Raises:
        UserError: the file cannot be written, or a table of the result cannot be read.
    """
    return write_reports([result], out or result.directory / REPORT)


def write_reports(results: Sequence[Result], out: Path) -> Path:
    """Write one page with the reports of several runs, one after the other."""
    title = escape(", ".join(str(result.summary["name"]) for result in results))
    body = "\n".join(_run(result, f"run{index}") for index, result in enumerate(results))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(f"simlora: {title}", body), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"{out}: cannot write the report: {error.strerror or error}") from error
    return out


def _run(result: Result, salt: str) -> str:
    summary = result.summary
    return "\n".join(
        (
            _header(summary),
            _tiles(summary),
            "<h2>What limits this fleet</h2>",
            f"<p>{escape(what_limits(summary))}</p>",
            "<h2>Tiers and their promises</h2>",
            _tier_table(summary),
            _figures(result, salt),
            _assumptions(result),
            _provenance(summary),
        )
    )


def _header(summary: dict[str, Any]) -> str:
    simulation = summary["simulation"]
    fleet = " + ".join(
        f"{pool['replicas']} × {escape(pool['gpu'])}"
        + (f" (tensor parallel {pool['tensor_parallel']})" if pool["tensor_parallel"] > 1 else "")
        for pool in simulation["fleet"]
    )
    weights = "" if simulation["weights"] == "bf16" else f" in {simulation['weights']}"
    interrupted = " <b>The run was interrupted.</b>" if simulation["interrupted"] else ""
    return (
        f"<h1>{escape(summary['name'])}</h1>\n<p class=soft>{escape(simulation['model'])}{weights} "
        f"on {fleet}, {duration(simulation['span_s'])} of traffic simulated.{interrupted}</p>"
    )


def _tiles(summary: dict[str, Any]) -> str:
    requests, throughput, cost = summary["requests"], summary["throughput"], summary["cost"]
    ttft, tpot = summary["latency"]["ttft_s"], summary["latency"]["tpot_s"]
    adapters, prefix, memory = summary["adapters"], summary["prefix_cache"], summary["memory"]
    completed = requests["completed"] / requests["offered"] if requests["offered"] else None
    tiles = (
        ("Requests", f"{requests['offered']:,}", f"{share(completed)} completed"),
        (
            "Throughput",
            f"{number(throughput['requests_per_s'])} req/s",
            f"{number(throughput['output_tokens_per_s'])} output tokens/s",
        ),
        ("Time to first token, p99", duration(ttft["p99"]), f"median {duration(ttft['p50'])}"),
        ("Time per output token, p99", duration(tpot["p99"]), f"median {duration(tpot['p50'])}"),
        (
            "Adapter hits in GPU memory",
            share(adapters["hit_ratio"]),
            f"{adapters['loads']:,} loads, {size(adapters['bytes_loaded'])}",
        ),
        (
            "Prefix cache hits",
            share(prefix["hit_ratio"]),
            f"{number(prefix['hit_tokens'])} prompt tokens saved",
        ),
        (
            "KV capacity",
            f"{memory.get('kv_capacity_tokens', 0):,} tokens",
            f"weights {size(memory.get('weight_bytes'))}",
        ),
        (
            "Cost of a million output tokens",
            usd(cost["usd_per_million_output_tokens"]),
            f"{usd(cost['gpu_usd_per_hour'])} per hour for {cost['gpus']} GPUs",
        ),
    )
    inner = "".join(
        f"<div class=tile><small>{label}</small><b>{value}</b><small>{note}</small></div>"
        for label, value, note in tiles
    )
    return f"<div class=tiles>{inner}</div>"


def _tier_table(summary: dict[str, Any]) -> str:
    heads = (
        "tier",
        "requests",
        "completed",
        "TTFT p50",
        "TTFT p99",
        "TPOT p99",
        "E2E p99",
        "promised",
        "in SLA",
    )
    rows = []
    for name, tier in summary["tiers"].items():
        requests = tier["requests"]
        completed = requests["completed"] / requests["offered"] if requests["offered"] else None
        cells = (
            escape(name),
            f"{requests['offered']:,}",
            share(completed),
            duration(tier["ttft_s"]["p50"]),
            duration(tier["ttft_s"]["p99"]),
            duration(tier["tpot_s"]["p99"]),
            duration(tier["e2e_s"]["p99"]),
            "<br>".join(_verdict(bound, entry) for bound, entry in tier["sla"].items()) or "—",
            share(tier["sla_attainment"]),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _verdict(bound: str, entry: dict[str, Any]) -> str:
    if bound == "availability":
        promise = f"available {share(entry['promised'])}"
    else:
        metric = bound.removesuffix("_p99_s").upper()
        promise = f"{metric} p99 ≤ {duration(entry['promised'])}"
    verdicts = {True: ("met", "met"), False: ("missed", "missed"), None: ("", "not measured")}
    style, word = verdicts[entry["met"]]
    return f"{promise} <span class='{style}'>{word}</span>"


def _figures(result: Result, salt: str) -> str:
    """All figures that have something to show."""
    from simlora.report import figures, style

    chosen: list[tuple[str, str, Callable[[Result], Figure]]] = []
    if result.summary["requests"]["completed"]:
        chosen.append(("Latency by tier", _LATENCY_CAPTION, figures.latency_by_tier))
        chosen.append(("Where the time goes", _PHASES_CAPTION, figures.phases_by_tier))
    if len(result.timeline):
        chosen.append(("Load over time", _LOAD_CAPTION, figures.load_over_time))
        chosen.append(("Memory over time", "Summed over replicas.", figures.memory_over_time))
        if result.summary["adapters"]["lookups"]:
            chosen.append(("Adapters", _ADAPTERS_CAPTION, figures.adapters))
    if result.tenants["ttft_p99_s"].notna().any():
        caption = "One mark a tenant, coloured by tier."
        chosen.append(("Tenants", caption, figures.tenants_by_load))
    parts = []
    for index, (title, caption, make) in enumerate(chosen):
        with style.styled():
            figure = make(result)
        svg = style.to_svg(figure, f"{salt}-{index}")
        parts.append(f"<h2>{title}</h2>\n<figure>{svg}<figcaption>{caption}</figcaption></figure>")
    return "\n".join(parts)


def _assumptions(result: Result) -> str:
    path = result.directory / RESOLVED_SCENARIO
    if not path.is_file():
        return ""
    text = escape(path.read_text(encoding="utf-8"))
    return (
        "<h2>Assumptions</h2>\n<p>Everything that was asked, defaults included. "
        "<code>simlora run</code> on this file repeats the run.</p>\n"
        f"<details><summary>Scenario</summary><pre>{text}</pre></details>"
    )


def _provenance(summary: dict[str, Any]) -> str:
    simulation = summary["simulation"]
    timing = simulation["timing"]
    return (
        "<h2>Provenance</h2>\n"
        f"<p class=soft>simlora {escape(simulation['version'])}, seed {simulation['seed']}, timing "
        f"profile {escape(timing['profile'])} ({escape(timing['hash'])}), statistics: "
        f"{escape(simulation['statistics'])}, {simulation['events']:,} events in "
        f"{duration(simulation['wall_s'])} of real time. Requests that arrived in the first "
        f"{duration(simulation['warmup_s'])} are not counted in latencies.</p>"
    )
