"""The page of a comparison: in what variants differ, what limits each, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from simlora.planning.bound import distances
from simlora.planning.compare import Comparison
from simlora.report import comparison_bound
from simlora.report.comparison_table import metrics_table, provenance_table
from simlora.report.comparison_words import basis, figure, same_everywhere, summary_words
from simlora.report.page import page
from simlora.report.plot import Plot, embedded
from simlora.report.settings_table import settings_table
from simlora.report.table import paragraph
from simlora.report.timing_words import start_sentence, timing_of, timing_sentence
from simlora.scenario import yamltext
from simlora.scenario.loading import dump_resolved
from simlora.scenario.schema import Scenario

_CAVEAT = (
    "The intervals take the differences to be about normal over replications. There is no "
    "correction over metrics: of twenty without a difference, expect one to show one."
)


def comparison_page(compared: Comparison, plots: Sequence[Plot]) -> str:
    """The comparison as a page of its own."""
    title = _title(compared)
    interrupted = " <b>The comparison was interrupted.</b>" if compared.interrupted else ""
    found = distances(compared)
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=soft>{escape(_subtitle(compared))}{interrupted}</p>",
        "<h2>Summary</h2>",
        *(f"<p class=opening>{escape(text)}</p>" for text in summary_words(compared)),
        f"<p class=soft>{escape(basis(compared))}</p>",
        "<h2>What limits each variant</h2>",
        *_limits(compared),
    ]
    if plots:
        body.append("<h2>Figures</h2>")
        body += [embedded(plot, plot.file) for plot in plots]
    if found:
        body.append(f"<h2>Distance from the bound</h2>\n{comparison_bound.table(found)}")
        body.append(f"<p class=soft>{escape(comparison_bound.note(compared, found))}</p>")
    body += ["<h2>Metrics</h2>", *_metrics(compared)]
    body += ["<h2>What was asked differently</h2>", settings_table(*_asked(compared))]
    timings = [timing_of(variant.scenario) for variant in compared.variants]
    for timing, variant in zip(timings, compared.variants, strict=True):
        runs = [run for run in compared.runs if run.variant == variant.name]
        timing["extrapolates"] = sorted({left for run in runs for left in run.extrapolates})
    body += ["<h2>Assumptions</h2>", *map(paragraph, _assumptions(compared, timings))]
    body.append(f"<h2>Provenance</h2>\n{provenance_table(compared, timings)}")
    return page(f"simlora: {escape(title)}", "\n".join(body))


def _title(compared: Comparison) -> str:
    """What is compared, in a line."""
    first, *others = (variant.name for variant in compared.variants)
    varied = compared.variants[0].settings
    if varied:
        return f"{compared.variants[0].scenario.name} by {' and '.join(varied)}"
    return f"{first} against {others[0] if len(others) == 1 else f'{len(others)} others'}"


def _subtitle(compared: Comparison) -> str:
    """The variants and how often each was run."""
    first, *others = (variant.name for variant in compared.variants)
    count = len(compared.seeds)
    runs = "one run" if count == 1 else f"{count} runs"
    return f"{first} is the baseline, beside {', '.join(others)}; {runs} of each, simulated."


def _limits(compared: Comparison) -> list[str]:
    """The verdict and its evidence, variant by variant."""
    first = {run.variant: run for run in compared.runs if run.replication == 0}
    told = [f"<p class=soft>Of the replication with seed {compared.seeds[0]}.</p>"]
    for variant in compared.variants:
        varied = f"{', '.join(variant.settings)}: " if variant.settings else ""
        told.append(f"<h3>{escape(varied + variant.name)}</h3>")
        told += map(paragraph, first[variant.name].limits)
    return told


def _asked(compared: Comparison) -> tuple[list[dict[str, Any]], list[str]]:
    scenarios = [_plain(variant.scenario) for variant in compared.variants]
    return scenarios, [variant.name for variant in compared.variants]


def _plain(scenario: Scenario) -> dict[str, Any]:
    found, _ = yamltext.parse(dump_resolved(scenario), scenario.name)
    return found if isinstance(found, dict) else {}


def _metrics(compared: Comparison) -> list[str]:
    """Those that tell variants apart in a table, the others in a sentence."""
    same = same_everywhere(compared)
    apart = [metric for metric in compared.metrics if metric not in same]
    told = [metrics_table(compared, apart)] if apart else []
    if same:
        first = [compared.of_metric(metric)[0] for metric in same]
        alike = ", ".join(f"{line.metric.title} {figure(line)}" for line in first)
        told.append(paragraph(f"The same in all variants: {alike}."))
    return told


def _assumptions(compared: Comparison, timings: Sequence[dict[str, Any]]) -> list[str]:
    """What the verdicts rest on, then what the times of each variant do."""
    of_each = [
        f"{timing_sentence(timing)} {start_sentence(variant.scenario.run.warmup_s)}"
        for variant, timing in zip(compared.variants, timings, strict=True)
    ]
    if len(set(of_each)) == 1:
        return [_CAVEAT, of_each[0]]
    named = zip(compared.variants, of_each, strict=True)
    return [_CAVEAT, *(f"{variant.name}: {text}" for variant, text in named)]
