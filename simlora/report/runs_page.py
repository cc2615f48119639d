"""The first part of a page on several runs: what tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from typing import Any

from simlora.report.asked import read_asked
from simlora.report.basis import assumption_sentences, provenance_rows, scenario_hash
from simlora.report.limits import limits_of
from simlora.report.measured import is_measured
from simlora.report.opening import by_verdict, limit_sentence
from simlora.report.plot import Plot, embedded
from simlora.report.runs_figures import (
    MOST_RUNS,
    latency_by_run,
    load_by_run,
    phases_by_run,
    ttft_distribution,
)
from simlora.report.runs_table import runs_table, value
from simlora.report.scenario_file import scenario_of
from simlora.report.settings_table import settings_table
from simlora.report.table import paragraph, table
from simlora.report.words import duration, usd
from simlora.results.result import Result

_CAVEAT = (
    "Differences are to the first run, in percent or in points of a share. Each is of one run, so "
    "a small one may be chance: simlora compare tells with several seeds which are real."
)
_OTHERS_ASKED = "The runs were not asked the same requests ({}): differences may be due to that."
_MIXED = (
    "Some of the runs were simulated and others took place: differences between those are also "
    "the simulation's error."
)
_LATENCY = "Percentiles of all completed requests of each run."
_PHASES = (
    "The phases of a request add up to its end-to-end time. Of a run measured at the client, "
    "prefill is all that the server and the network did until the first token."
)
_TTFT = "Each line is a run: what share of requests had its first token within that time."
_LOAD = (
    "The whole fleet, means of each interval, from the run's beginning on. Of a run measured at "
    "the client: answers under way, and requests without a token."
)
_ASKED_FOR = ("workload", "tenants", "seed")
_TTFT_P99 = ("latency", "ttft_s", "p99")
_TOKEN_USD = ("cost", "usd_per_million_output_tokens")


def side_by_side(results: Sequence[Result], names: Sequence[str]) -> str:
    """Summary, limits, figures and differences of the runs, as HTML."""
    shown = [embedded(plot, f"shared-{i}") for i, plot in enumerate(shared_plots(results, names))]
    return "\n".join(
        (
            f"<h1>{len(results)} runs side by side</h1>",
            f"<p class=soft>{escape(', '.join(names))}</p>",
            "<h2>Summary</h2>",
            *(f"<p class=opening>{escape(text)}</p>" for text in _summary(results, names)),
            runs_table(results, names),
            f"<p class=soft>{' '.join(_caveats(results))}</p>",
            "<h2>What limits them</h2>",
            *(
                paragraph(f"{name}: {limit_sentence(limits_of(result))}")
                for result, name in zip(results, names, strict=True)
            ),
            "<h2>Shared figures</h2>",
            *shown,
            "<h2>What was asked differently</h2>",
            _settings(results, names),
            "<h2>Assumptions of all</h2>",
            *map(paragraph, _assumptions(results, names)),
            "<h2>Provenance of all</h2>",
            _provenance(results, names),
        )
    )


def shared_plots(results: Sequence[Result], names: Sequence[str]) -> list[Plot]:
    """The figures that show all runs together; of many, the first ones."""
    results, names = results[:MOST_RUNS], names[:MOST_RUNS]
    plots = []
    if any(result.summary["requests"]["completed"] for result in results):
        plots.append(Plot("Latency by run", _LATENCY, partial(latency_by_run, results, names)))
        draw = partial(phases_by_run, results, names)
        plots.append(Plot("Where the time goes, by run", _PHASES, draw))
        plots.append(Plot("Time to first token, by run", _TTFT, _ttft(results, names)))
    if any(len(result.timeline) for result in results):
        plots.append(Plot("Load over time, by run", _LOAD, partial(load_by_run, results, names)))
    return plots


def _ttft(results: Sequence[Result], names: Sequence[str]) -> Callable[[], Any]:
    return lambda: ttft_distribution([read_asked(result).ttft_s for result in results], names)


def _summary(results: Sequence[Result], names: Sequence[str]) -> Iterator[str]:
    """Who keeps its promises; then who is first in latency and in price."""
    kept: list[str] = []
    broken: list[str] = []
    for result, name in zip(results, names, strict=True):
        of = by_verdict(result.summary)
        if of[1]:
            broken.append(name)
        elif of[0] and not of[2]:
            kept.append(name)
    told = [f"{' and '.join(kept)} keep{'s' * (len(kept) == 1)} every promise."] if kept else []
    if broken:
        told.append(f"{' and '.join(broken)} break{'s' * (len(broken) == 1)} a promise.")
    if told:
        yield " ".join(told)
    best = [
        text
        for text in (
            _least("the shortest p99 of TTFT", results, names, _TTFT_P99, duration),
            _least("the lowest price of output tokens", results, names, _TOKEN_USD, usd),
        )
        if text
    ]
    if best:
        text = ", and ".join(best)
        yield f"{text[0].upper()}{text[1:]}."


def _least(
    what: str,
    results: Sequence[Result],
    names: Sequence[str],
    path: Sequence[str],
    words: Callable[[float | None], str],
) -> str:
    """The run with the least of a figure, or nothing if fewer than two have it."""
    found = [value(result.summary, path) for result in results]
    known = {name: v for name, v in zip(names, found, strict=True) if v is not None}
    if len(known) < 2 or len(set(known.values())) < 2:
        return ""
    least = min(known, key=known.__getitem__)
    return f"{what} is that of {least} ({words(known[least])})"


def _assumptions(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    """What the figures of each run rest on, said once where it is the same."""
    of_each = [" ".join(assumption_sentences(result.summary)) for result in results]
    if len(set(of_each)) == 1:
        return of_each[:1]
    return [f"{name}: {text}" for name, text in zip(names, of_each, strict=True)]


def _caveats(results: Sequence[Result]) -> list[str]:
    told = [_CAVEAT]
    asked = [scenario_of(result) for result in results]
    other = [key for key in _ASKED_FOR if any(a.get(key) != asked[0].get(key) for a in asked)]
    if other:
        told.append(_OTHERS_ASKED.format(", ".join(other)))
    if len({is_measured(result.summary) for result in results}) > 1:
        told.append(_MIXED)
    return told


def _settings(results: Sequence[Result], names: Sequence[str]) -> str:
    """The fields of the scenarios that differ."""
    if len({scenario_hash(result) for result in results}) == 1:
        return "<p>Nothing: all runs have the same scenario and seed.</p>"
    return settings_table([scenario_of(result) for result in results], names)


def _provenance(results: Sequence[Result], names: Sequence[str]) -> str:
    """Items of all runs, one row each."""
    items = [dict(provenance_rows(result)) for result in results]
    keys = dict.fromkeys(key for one in items for key in one)
    rows = [(escape(key), *(escape(one.get(key, "—")) for one in items)) for key in keys]
    return table("provenance", ("what", *map(escape, names)), rows, "Provenance of all")
