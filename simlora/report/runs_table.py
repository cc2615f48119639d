"""Several runs side by side: one row a figure, one column a run, and how each differs from the
first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from simlora.report.comparison_words import signed
from simlora.report.measured import from_outside, is_measured
from simlora.report.table import table
from simlora.report.words import duration, number, share, usd
from simlora.results.result import Result

Words = Callable[[float | None], str]


def _count(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"


_ROWS: tuple[tuple[str, tuple[str, ...], Words, bool], ...] = (
    ("requests offered", ("requests", "offered"), _count, False),
    ("requests completed", ("requests", "completed"), _count, False),
    ("requests a second", ("throughput", "requests_per_s"), number, False),
    ("output tokens a second", ("throughput", "output_tokens_per_s"), number, False),
    ("TTFT, median", ("latency", "ttft_s", "p50"), duration, False),
    ("TTFT, p99", ("latency", "ttft_s", "p99"), duration, False),
    ("TPOT, median", ("latency", "tpot_s", "p50"), duration, False),
    ("TPOT, p99", ("latency", "tpot_s", "p99"), duration, False),
    ("end to end, median", ("latency", "e2e_s", "p50"), duration, False),
    ("end to end, p99", ("latency", "e2e_s", "p99"), duration, False),
    ("adapter found hot", ("adapters", "hit_ratio"), share, True),
    ("adapter loads", ("adapters", "loads"), _count, True),
    ("preemptions", ("batch", "preemptions"), _count, True),
    ("GPUs", ("cost", "gpus"), _count, False),
    ("price of the GPUs a month", ("cost", "fleet_usd_per_month"), usd, False),
    ("a million output tokens", ("cost", "usd_per_million_output_tokens"), usd, False),
)


def runs_table(results: Sequence[Result], names: Sequence[str]) -> str:
    """The table as HTML."""
    rows = [("times are", *(escape(how_timed(result.summary)) for result in results))]
    rows += [
        (title, *_cells([value(result.summary, path, inside) for result in results], words))
        for title, path, words, inside in _ROWS
    ]
    rows += _tier_rows(results)
    kept = [row for row in rows if any(cell != "—" for cell in row[1:])]
    heads = ("", *(f'<a href="#run{i}">{escape(name)}</a>' for i, name in enumerate(names)))
    return table("runs", heads, kept, "Runs side by side")


def value(summary: dict[str, Any], path: Sequence[str], inside: bool = False) -> float | None:
    """A figure of a summary; None where it has none, or where it is of the `inside` of a server
    that only its client was asked about."""
    if inside and from_outside(summary):
        return None
    found: Any = summary
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return None if found is None else float(found)


def how_timed(summary: dict[str, Any]) -> str:
    """Where the times of a run come from, in a few words."""
    if from_outside(summary):
        return "measured at the client"
    if is_measured(summary):
        return "measured in the engine"
    return f"simulated, {summary['simulation']['timing']['profile']}"


def change(base: float | None, other: float | None, words: Words) -> str:
    """The difference to the first run: in points of shares, else in percent; empty where there is
    none to tell."""
    if base is None or other is None or base == other:
        return ""
    if words is share:
        return _unless_nothing(100 * (other - base), 1, " points")
    if not base:
        return ""
    ratio = other / base
    if ratio >= 10:
        return f"×{ratio:,.3g}"
    percent = 100 * (ratio - 1)
    return _unless_nothing(percent, 0 if abs(percent) >= 10 else 1, " %")


def _unless_nothing(difference: float, digits: int, unit: str) -> str:
    """The difference, unless it rounds to none."""
    told = signed(difference, digits)
    return f"{told}{unit}" if told[0] in "+−" else ""


def _cells(values: Sequence[float | None], words: Words) -> list[str]:
    """The figures, each but the first with its difference below."""
    cells = []
    for place, of_run in enumerate(values):
        differs = change(values[0], of_run, words) if place else ""
        cells.append(words(of_run) + (f"<br><small>{differs}</small>" if differs else ""))
    return cells


def _tier_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """For each tier that some run has: its p99 of TTFT, and how many requests were within all that
    it is promised."""
    tiers = dict.fromkeys(name for result in results for name in result.summary["tiers"])
    rows: list[tuple[str, ...]] = []
    for tier in tiers:
        if len(tiers) > 1:
            ttft = [value(r.summary, ("tiers", tier, "ttft_s", "p99")) for r in results]
            rows.append((f"TTFT of {escape(tier)}, p99", *_cells(ttft, duration)))
        kept = [value(r.summary, ("tiers", tier, "sla_attainment")) for r in results]
        rows.append((f"{escape(tier)} within its promises", *_cells(kept, share)))
        rows.append(
            (
                f"promises to {escape(tier)}",
                *(_verdict(r.summary["tiers"].get(tier)) for r in results),
            )
        )
    return rows


def _verdict(tier: dict[str, Any] | None) -> str:
    """Whether a tier's promises were kept, coloured."""
    verdicts = [entry["met"] for entry in tier["sla"].values()] if tier else []
    if not verdicts:
        return "—"
    if False in verdicts:
        return "<span class=missed>missed</span>"
    return "open" if None in verdicts else "<span class=met>met</span>"
