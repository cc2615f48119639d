"""The tables of a comparison's page: every metric, and what the figures rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from simlora import __version__
from simlora.planning.compare import Comparison, Line
from simlora.planning.metrics import Metric
from simlora.planning.paired import Verdict
from simlora.planning.variants import Variant
from simlora.report.comparison_words import change, change_unit, figure
from simlora.report.scenario_file import asked_hash
from simlora.report.settings_table import facts_table
from simlora.report.table import grouped_table
from simlora.report.timing_words import profile_rows
from simlora.scenario.loading import dump_resolved

_HEADS = ("variant", "mean", "difference", "adjusted p", "verdict")


def metrics_table(compared: Comparison, metrics: Sequence[Metric]) -> str:
    """The metrics one below the other, each with its variants, as HTML."""
    groups = [(_head(metric), list(map(_row, compared.of_metric(metric)))) for metric in metrics]
    return grouped_table("metrics", _HEADS, groups, "Metrics")


def provenance_table(compared: Comparison, timings: Sequence[Mapping[str, Any]]) -> str:
    """What made the figures, as HTML; `timings` are the variants', as a run's summary has them."""
    first, last = compared.seeds[0], compared.seeds[-1]
    seeds = f"{first} to {last}" if last != first else f"{first}"
    facts = [
        [
            ("simlora", __version__),
            ("scenario", _scenario(variant)),
            ("seeds", seeds),
            ("times", "simulated"),
            *profile_rows(timing, variant.scenario.timing.profile),
        ]
        for variant, timing in zip(compared.variants, timings, strict=True)
    ]
    return facts_table(facts, [variant.name for variant in compared.variants])


def _head(metric: Metric) -> str:
    """What a metric is, and how to read its differences."""
    unit = {"pt": "percentage points", "%": "percent"}[change_unit(metric)]
    aim = "higher" if metric.higher_is_better else "lower"
    note = f"{aim} is better, difference in {unit}"
    return f"{escape(metric.title)} <small>{note}</small>"


def _row(line: Line) -> tuple[str, ...]:
    kind = {Verdict.BETTER: "met", Verdict.WORSE: "missed"}.get(line.verdict or Verdict.SAME, "")
    verdict = line.verdict.value if line.verdict else "baseline"
    p = "" if line.adjusted_p is None else f"{line.adjusted_p:.2g}"
    told = f"<span class='{kind}'>{verdict}</span>"
    return escape(line.variant), figure(line), change(line), p, told


def _scenario(variant: Variant) -> str:
    """Its name, and the hash of all that it asks for."""
    return f"{variant.scenario.name} ({asked_hash(dump_resolved(variant.scenario))})"
