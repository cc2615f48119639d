"""The tables of a comparison's page: every metric, and what the figures rest on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from simlora import __version__
from simlora.errors import UserError
from simlora.planning.compare import Comparison, Line
from simlora.planning.metrics import Metric
from simlora.planning.paired import Verdict
from simlora.planning.variants import Variant
from simlora.report.comparison_words import change, change_unit, figure
from simlora.report.scenario_file import asked_hash
from simlora.report.table import table
from simlora.report.words import share
from simlora.scenario.deployment import expand
from simlora.scenario.loading import dump_resolved
from simlora.timing.base import TimingModel
from simlora.timing.profile import load_profile, profile_names
from simlora.timing.select import make_timing


def metrics_table(compared: Comparison, metrics: Sequence[Metric]) -> str:
    """The metrics one below the other, each with its variants, as HTML."""
    groups = "".join(f"<tbody>{_group(compared, metric)}</tbody>" for metric in metrics)
    return (
        f'<div class=wide tabindex=0 role=region aria-label="Metrics"><table>{groups}</table></div>'
    )


def provenance_table(compared: Comparison) -> str:
    """What made the figures, as HTML."""
    first, last = compared.seeds[0], compared.seeds[-1]
    seeds = f"{first} to {last}" if last != first else f"{first}"
    rows = [("simlora", "", __version__), ("seeds", "", seeds)]
    rows += [("variant", variant.name, _basis(variant)) for variant in compared.variants]
    cells = [tuple(map(escape, row)) for row in rows]
    heads = ("what", "name", "of this comparison")
    return table("provenance", heads, cells, "Provenance", named_rows=True)


def _group(compared: Comparison, metric: Metric) -> str:
    """The rows of a metric, under a head of their own."""
    unit = {"pt": "points", "%": "%"}[change_unit(metric)]
    aim = "higher is better" if metric.higher_is_better else "lower is better"
    heads = (f"{metric.title}, {aim}", "mean", f"difference, {unit}", "adjusted p", "verdict")
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in heads)
    return f"<tr>{head}</tr>" + "".join(map(_row, compared.of_metric(metric)))


def _row(line: Line) -> str:
    kind = {Verdict.BETTER: "met", Verdict.WORSE: "missed"}.get(line.verdict or Verdict.SAME, "")
    verdict = line.verdict.value if line.verdict else "baseline"
    p = "" if line.adjusted_p is None else f"{line.adjusted_p:.2g}"
    cells: tuple[Any, ...] = (escape(line.variant), figure(line), change(line), p)
    told = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr>{told}<td><span class='{kind}'>{verdict}</span></td></tr>"


def _basis(variant: Variant) -> str:
    """A variant's scenario, by the hash of all that it asks for, and what its times rest on."""
    told = asked_hash(dump_resolved(variant.scenario))
    scenario = f"scenario {variant.scenario.name} ({told})"
    try:
        deployment = expand(variant.scenario)
        pools = range(len(variant.scenario.fleet))
        timings = [make_timing(deployment, pool) for pool in pools]
    except UserError:
        return f"{scenario}; timing profile {variant.scenario.timing.profile}"
    return "; ".join(dict.fromkeys((scenario, *map(_profile, timings))))


def _profile(timing: TimingModel) -> str:
    """A timing profile with its date and error, and whether it was measured on something else."""
    if timing.profile_name is None:
        return "timing profile roofline, from datasheets: no error is known"
    told = f"timing profile {timing.profile_name}"
    if timing.profile_name in profile_names():
        told += f" of {load_profile(timing.profile_name).provenance.date}"
    if timing.scaled_from is not None:
        told += f", scaled by the roofline from {timing.scaled_from}"
    errors = ", ".join(f"{key.replace('_', ' ')} {share(e)}" for key, e in timing.error.items())
    return f"{told}, its error: {errors or 'none stated'}"
