"""`report.html`: one self-contained page per run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.report.asked import Asked, read_asked, told_over_time
from simlora.report.basis import assumptions, provenance
from simlora.report.cost import cost_section
from simlora.report.fairness_words import budget_left, fairness_rows
from simlora.report.fleet_words import fleet_words
from simlora.report.happenings_table import HEADS as HAPPENING_HEADS
from simlora.report.happenings_table import happening_rows
from simlora.report.interruptions import interruptions_sentence
from simlora.report.lead import lead
from simlora.report.limits import what_limits
from simlora.report.measured import from_outside, is_measured
from simlora.report.outside import what_was_seen
from simlora.report.page import page
from simlora.report.refusals import refusal_heads, refusal_rows
from simlora.report.sharing import who_shares
from simlora.report.tiles import tiles
from simlora.report.version_words import HEADS, rollouts, version_rows
from simlora.report.words import (
    duration,
    promise,
    share,
)
from simlora.results.files import REPORT
from simlora.results.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LATENCY_CAPTION = (
    "Percentiles of completed requests. A green bar is what a tier promises for its p99. "
    "Where values span orders of magnitude, the axis is logarithmic."
)
_PHASES_CAPTION = (
    "Left: the phases of a request add up to its end-to-end time. Right: the 99th percentile of "
    "each phase on its own; these do not add up, and a "
    "phase without a mark was 0."
)
_LOAD_CAPTION = (
    "The whole fleet. Lines are means, bands the least and the most within each interval."
)
_SEEN_LOAD = (
    "As the client saw it. Lines are means, bands the least and the most within each interval."
)
_SEEN_PHASES = (
    "As the client saw it: the time to the first token is the network's and all of the server's "
    "until then. "
)
_POOLS_CAPTION = (
    "Requests by when they arrived, those that were turned away before left out; running requests "
    "are means of each interval."
)
_MEMORY_CAPTION = (
    "The whole fleet, without the base model's weights. Adapters stay after use for as long as "
    "nothing else needs their pages."
)
_ADAPTERS_CAPTION = (
    "Where a request's adapter was when the request reached its replica: hot in GPU memory, warm "
    "in host memory, on local disk (nvme) or in object storage."
)
_TENANTS_CAPTION = (
    "One mark a tenant; both axes are logarithmic. The p99 of a tenant with few "
    "requests is its slowest one."
)
_ORDER_CAPTION = (
    "Tenants from the worst to the best. Where they are many, a curve is a tier's tenants, in each "
    "panel in an order of its own."
)
_HAPPENINGS = "Figures are of the requests that arrived while it lasted."
_FAIRNESS = (
    "Jain's index is 1 if all tenants fared alike, and 1/n if one of n got everything. Of service: "
    "the share of its demand that a tenant was given, in tokens, output tokens counted twice. Of "
    "latency: a tenant's mean time per output token from arrival to end; lengths of requests "
    "differ by chance, so with few requests a tenant it stays below 1."
)
_LONGEST = (
    "The longest wait is that of one request in queues and for its adapter, completed or not."
)
_BUDGET = (
    "An error budget is what a promise allows: of an availability the share that is not promised, "
    "of a p99 one request in a hundred."
)
_UNFINISHED = (
    "Unfinished requests that are already later than a promise (where none is made on time: than "
    "the slowest completed request) count as not available and outside of every bound; younger "
    "ones do not count. Nothing is called met where most requests did not complete."
)


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
    asked = read_asked(result) if told_over_time(result) else None
    return "\n".join(
        (
            _header(summary),
            *map(_paragraph, lead(summary, result.timeline)),
            tiles(summary),
            _happenings(result, asked),
            _limits(result, asked),
            "<h2>Tiers and their promises</h2>",
            _tier_table(summary),
            _promise_table(summary),
            _refusals(summary),
            _fairness(summary),
            _versions(summary),
            _sharing(result),
            cost_section(result, salt),
            _figures(result, asked, salt),
            assumptions(result),
            provenance(summary),
        )
    )


def _unbroken(text: str) -> str:
    """Keep figures and their units on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|µs|ms|s|min|h)\b|%)", "&nbsp;", text)


def _header(summary: dict[str, Any]) -> str:
    simulation = summary["simulation"]
    interrupted = " <b>The run was interrupted.</b>" if simulation["interrupted"] else ""
    where = fleet_words(simulation)
    if from_outside(summary):
        where = f"{simulation['timing']['profile']}, taken for {where}"
    how = "served" if is_measured(summary) else "simulated"
    return (
        f"<h1>{escape(summary['name'])}</h1>\n<p class=soft>{escape(where)}, "
        f"{duration(simulation['span_s'])} {how}.{interrupted}</p>"
    )


def _limits(result: Result, asked: Asked | None) -> str:
    """What holds requests back, or what of that a client can see."""
    if from_outside(result.summary):
        title, told = "What the client saw", what_was_seen(result)
    else:
        title, told = "What limits this fleet", what_limits(result, asked)
    return "\n".join((f"<h2>{title}</h2>", *map(_paragraph, told)))


def _sharing(result: Result) -> str:
    """Whom isolation kept apart in the prefix cache; nothing where there was none to share."""
    told = who_shares(result)
    return (
        "\n".join(("<h2>Isolation of cached prefixes</h2>", *map(_paragraph, told))) if told else ""
    )


def _paragraph(text: str) -> str:
    return f"<p>{_unbroken(escape(text))}</p>"


def _tier_table(summary: dict[str, Any]) -> str:
    rows = []
    for name, tier in summary["tiers"].items():
        requests = tier["requests"]
        completed = requests["completed"] / requests["offered"] if requests["offered"] else None
        rows.append(
            (
                escape(name),
                f"{requests['offered']:,}",
                share(completed),
                duration(tier["ttft_s"]["p50"]),
                duration(tier["ttft_s"]["p99"]),
                duration(tier["tpot_s"]["p50"]),
                duration(tier["tpot_s"]["p99"]),
                duration(tier["e2e_s"]["p50"]),
                duration(tier["e2e_s"]["p99"]),
            )
        )
    heads = "tier,requests,completed,TTFT p50,TTFT p99,TPOT p50,TPOT p99,E2E p50,E2E p99"
    return _table("tiers", heads.split(","), rows)


def _promise_table(summary: dict[str, Any]) -> str:
    """What the tiers promise and what came of it."""
    rows: list[tuple[str, ...]] = []
    told = False
    for name, tier in summary["tiers"].items():
        if not tier["sla"]:
            continue
        for bound, entry in tier["sla"].items():
            asked, measured, verdict = promise(bound, entry)
            asked, measured = escape(asked), escape(measured)
            verdict = f"<span class={verdict.replace(' ', '-')}>{verdict}</span>"
            spent = budget_left(tier, bound)
            told |= bool(spent)
            rows.append((escape(name), asked, measured, verdict, _wrapping(spent)))
        attained = share(tier["sla_attainment"])
        rows.append((escape(name), "requests within every bound", attained, "", ""))
    if not rows:
        return "<p class=soft>No tier promises anything.</p>"
    notes = [_BUDGET] if told else []
    if summary["requests"]["unfinished"]:
        notes.append(_UNFINISHED)
    note = f"<p class=soft>{' '.join(notes)}</p>" if notes else ""
    if not told:
        rows = [row[:-1] for row in rows]
    heads = ("tier", "promise", "measured", "", "error budget")
    return _table("promises", heads[: len(rows[0])], rows) + note


def _wrapping(lines: Sequence[str]) -> str:
    """Lines of a cell that may be broken where the page is narrow."""
    return f"<span style='white-space:normal'>{'<br>'.join(map(escape, lines))}</span>"


def _fairness(summary: dict[str, Any]) -> str:
    """How evenly the tenants were served; nothing without several."""
    fairness = summary.get("fairness") or {}
    if fairness.get("tenants", 0) < 2:
        return ""
    rows: list[tuple[str, ...]] = [
        (*map(escape, figures), _wrapping([longest]))
        for *figures, longest in fairness_rows(fairness)
    ]
    heads: tuple[str, ...] = ("tier", "tenants", "Jain, service", "Jain, latency", "longest wait")
    note = f"{_FAIRNESS} {_LONGEST}"
    if from_outside(summary):  # where a client waits is not known to it
        rows, heads, note = [row[:-1] for row in rows], heads[:-1], _FAIRNESS
    table = _table("fairness", heads, rows)
    return f"<h2>Fairness between tenants</h2>\n{table}\n<p class=soft>{note}</p>"


def _happenings(result: Result, asked: Asked | None) -> str:
    """Scripted events and bursts, and what came of them; nothing without any."""
    rows = happening_rows(result, asked) if asked is not None else []
    if asked is None or not rows:
        return ""
    told = " ".join(filter(None, (_HAPPENINGS, interruptions_sentence(result.summary, asked))))
    cells = [tuple(map(escape, row)) for row in rows]
    table = _table("happenings", HAPPENING_HEADS, cells)
    return f"<h2>What happened</h2>\n{table}\n<p class=soft>{told}</p>"


def _refusals(summary: dict[str, Any]) -> str:
    """Who was turned away or failed, and why; nothing where nobody was."""
    rows = [tuple(map(escape, row)) for row in refusal_rows(summary)]
    if not rows:
        return ""
    heads = [escape(head).replace("\n", "<br>") for head in refusal_heads(summary)]
    return f"<h2>Turned away or failed</h2>\n{_table('refusals', heads, rows)}"


def _versions(summary: dict[str, Any]) -> str:
    """How each version of an adapter fared; nothing without rollouts."""
    told = "".join(f"<p>{_unbroken(escape(text))}.</p>" for text in rollouts(summary))
    rows = [tuple(map(escape, row)) for row in version_rows(summary)]
    if not told:
        return ""
    return f"<h2>Versions of adapters</h2>\n{_table('versions', HEADS, rows)}\n{told}"


def _table(kind: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for cells in rows
    )
    return (
        f"<div class=wide><table class={kind}><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _figures(result: Result, asked: Asked | None, salt: str) -> str:
    """All figures that have something to show."""
    from simlora.report import figures, style, tenant_figures
    from simlora.report.over_time import figures_over_time
    from simlora.report.pool_figure import has_mixed_load, load_by_pool

    outside = from_outside(result.summary)
    chosen: list[tuple[str, str, Callable[[Result], Figure]]] = []
    if result.summary["requests"]["completed"]:
        chosen.append(("Latency by tier", _LATENCY_CAPTION, figures.latency_by_tier))
        caption = _SEEN_PHASES + _PHASES_CAPTION if outside else _PHASES_CAPTION
        chosen.append(("Where the time goes", caption, figures.phases_by_tier))
        chosen += figures_over_time(result, asked) if asked is not None else []
    if len(result.timeline):
        caption = _SEEN_LOAD if outside else _LOAD_CAPTION
        chosen.append(("Load over time", caption, figures.load_over_time))
        if has_mixed_load(result) and not outside:
            chosen.append(("Load by pool", _POOLS_CAPTION, load_by_pool))
        if not outside:
            chosen.append(("Memory over time", _MEMORY_CAPTION, figures.memory_over_time))
        if result.summary["adapters"]["lookups"]:
            chosen.append(("Adapters", _ADAPTERS_CAPTION, figures.adapters))
    if result.tenants["ttft_p99_s"].notna().any():
        chosen.append(("Tenants in order", _ORDER_CAPTION, tenant_figures.tenants_in_order))
        chosen.append(("Tenants by load", _TENANTS_CAPTION, tenant_figures.tenants_by_load))
    parts = []
    for index, (title, caption, make) in enumerate(chosen):
        with style.styled():
            figure = make(result)
        svg = style.to_svg(figure, f"{salt}-{index}")
        parts.append(
            f"<h2>{title}</h2>\n<figure><div class=wide>{svg}</div>"
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return "\n".join(parts)
