"""`report.html`: one self-contained page on a run, or on several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

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
from simlora.report.limits import limits_of
from simlora.report.measured import from_outside, is_measured
from simlora.report.opening import opening
from simlora.report.page import page
from simlora.report.plot import embedded
from simlora.report.refusals import refusal_heads, refusal_rows
from simlora.report.run_names import names_of
from simlora.report.run_plots import plots_of
from simlora.report.runs_page import side_by_side
from simlora.report.sharing import who_shares
from simlora.report.table import paragraph, table, unbroken
from simlora.report.tiles import tiles
from simlora.report.version_words import HEADS, rollouts, version_rows
from simlora.report.words import duration, promise, share
from simlora.results.files import REPORT
from simlora.results.result import Result

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
    """Write one page: the report of a run, or several runs side by side and then one by one.

    Raises:
        UserError: as `write_report`.
    """
    names = names_of(results)
    if len(results) == 1:
        body = _run(results[0], "run0", escape(names[0]))
    else:
        runs = [
            _under(_run(result, f"run{index}", escape(name)), f"run{index}")
            for index, (result, name) in enumerate(zip(results, names, strict=True))
        ]
        body = "\n".join((side_by_side(results, names), *runs))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        title = escape(", ".join(names))
        out.write_text(page(f"simlora: {title}", body), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"{out}: cannot write the report: {error.strerror or error}") from error
    return out


def _under(body: str, anchor: str) -> str:
    """The report of a run as a part of a page, its heads one level lower."""
    lower = re.sub(r"<(/?)h([1-5])\b", lambda m: f"<{m[1]}h{int(m[2]) + 1}", body)
    return f'<section class=run id="{anchor}">\n{lower}\n</section>'


def _run(result: Result, salt: str, name: str) -> str:
    summary = result.summary
    asked = read_asked(result) if told_over_time(result) else None
    limits = limits_of(result, asked)
    return "\n".join(
        (
            _header(summary, name),
            "<h2>Summary</h2>",
            f"<p class=opening>{unbroken(escape(opening(summary, limits)))}</p>",
            *map(paragraph, lead(summary, result.timeline)),
            tiles(summary),
            _limits(summary, limits),
            _happenings(result, asked),
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
            provenance(result),
        )
    )


def _header(summary: dict[str, Any], name: str) -> str:
    simulation = summary["simulation"]
    interrupted = " <b>The run was interrupted.</b>" if simulation["interrupted"] else ""
    where = fleet_words(simulation)
    if from_outside(summary):
        where = f"{simulation['timing']['profile']}, taken for {where}"
    how = "served" if is_measured(summary) else "simulated"
    return (
        f"<h1>{name}</h1>\n<p class=soft>{escape(where)}, "
        f"{duration(simulation['span_s'])} {how}.{interrupted}</p>"
    )


def _limits(summary: dict[str, Any], told: Sequence[str]) -> str:
    """What holds requests back, or what of that a client can see."""
    title = "What the client saw" if from_outside(summary) else "What limits this fleet"
    return "\n".join((f"<h2>{title}</h2>", *map(paragraph, told)))


def _sharing(result: Result) -> str:
    """Whom isolation kept apart in the prefix cache; nothing where there was none to share."""
    told = who_shares(result)
    return (
        "\n".join(("<h2>Isolation of cached prefixes</h2>", *map(paragraph, told))) if told else ""
    )


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
    return table("tiers", heads.split(","), rows, "Tiers")


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
    heads = ("tier", "promise", "measured", "verdict", "error budget")
    return table("promises", heads[: len(rows[0])], rows, "Promises", named_by=2) + note


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
    shown = table("fairness", heads, rows, "Fairness")
    return f"<h2>Fairness between tenants</h2>\n{shown}\n<p class=soft>{note}</p>"


def _happenings(result: Result, asked: Asked | None) -> str:
    """Scripted events and bursts, and what came of them; nothing without any."""
    rows = happening_rows(result, asked) if asked is not None else []
    if asked is None or not rows:
        return ""
    told = " ".join(filter(None, (_HAPPENINGS, interruptions_sentence(result.summary, asked))))
    cells = [tuple(map(escape, row)) for row in rows]
    shown = table("happenings", HAPPENING_HEADS, cells, "What happened")
    return f"<h2>What happened</h2>\n{shown}\n<p class=soft>{told}</p>"


def _refusals(summary: dict[str, Any]) -> str:
    """Who was turned away or failed, and why; nothing where nobody was."""
    rows = [tuple(map(escape, row)) for row in refusal_rows(summary)]
    if not rows:
        return ""
    heads = [escape(head).replace("\n", "<br>") for head in refusal_heads(summary)]
    shown = table("refusals", heads, rows, "Turned away or failed")
    return f"<h2>Turned away or failed</h2>\n{shown}"


def _versions(summary: dict[str, Any]) -> str:
    """How each version of an adapter fared; nothing without rollouts."""
    told = "".join(f"<p>{unbroken(escape(text))}.</p>" for text in rollouts(summary))
    rows = [tuple(map(escape, row)) for row in version_rows(summary)]
    if not told:
        return ""
    shown = table("versions", HEADS, rows, "Versions of adapters")
    return f"<h2>Versions of adapters</h2>\n{shown}\n{told}"


def _figures(result: Result, asked: Asked | None, salt: str) -> str:
    """All figures that have something to show, without those on money."""
    plots = plots_of(result, asked)
    drawn = [embedded(plot, f"{salt}-{index}") for index, plot in enumerate(plots)]
    return "\n".join(("<h2>Figures</h2>", *drawn)) if drawn else ""
