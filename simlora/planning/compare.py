"""Paired comparison of scenarios on common random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.planning import bound
from simlora.planning.metrics import Metric, metrics_of
from simlora.planning.paired import CONFIDENCE, Difference, Verdict, holm, judge, paired_difference
from simlora.planning.runner import Run, prepare, run_variants
from simlora.planning.variants import Variant
from simlora.scenario.schema import Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of one variant, and how it differs from the baseline's (None: it is the baseline).

    `mean` is over the replications, and so is the baseline's, `base`. `adjusted_p` is the p-value
    after Holm's correction.
    """

    variant: str
    metric: Metric
    values: tuple[float | None, ...]
    mean: float | None
    base: float | None
    difference: Difference | None = None
    adjusted_p: float | None = None
    verdict: Verdict | None = None

    @property
    def relative(self) -> float | None:
        """The mean difference as a share of the baseline's mean."""
        if self.difference is None or self.difference.mean is None or not self.base:
            return None
        return self.difference.mean / abs(self.base)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the runs of several variants say; the first variant is the baseline.

    `seeds` are those of the replications that every variant finished; only they count. `lines` has
    one entry a variant and metric. `other_traffic` names variants that were asked other requests
    than the baseline on the same seeds.
    """

    variants: tuple[Variant, ...]
    metrics: tuple[Metric, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    lines: tuple[Line, ...]
    other_traffic: tuple[str, ...]
    interrupted: bool

    @property
    def baseline(self) -> str:
        return self.variants[0].name

    def of_metric(self, metric: Metric) -> list[Line]:
        """The lines of a metric, in the order of the variants."""
        return [line for line in self.lines if line.metric == metric]

    @property
    def table(self) -> pd.DataFrame:
        """One row a variant and metric; NaN or None where there is nothing to tell. The interval is
        that of `difference`, at 95 %; `verdict` is after Holm's correction."""
        import pandas as pd

        rows = []
        for line in self.lines:
            difference = line.difference or Difference(0)
            rows.append(
                {
                    "variant": line.variant,
                    "metric": line.metric.key,
                    "unit": line.metric.unit,
                    "mean": line.mean,
                    "difference": difference.mean,
                    "interval_low": difference.low,
                    "interval_high": difference.high,
                    "relative_difference": line.relative,
                    "p": difference.p,
                    "adjusted_p": line.adjusted_p,
                    "replications": len(self.seeds),
                    "verdict": line.verdict.value if line.verdict else "baseline",
                }
            )
        return pd.DataFrame(rows)


def compare(
    scenarios: Mapping[str, Scenario],
    replications: int | None = None,
    *,
    seed: int | None = None,
    jobs: int = 1,
) -> Comparison:
    """Run every scenario on the same seeds, and tell which differences to the first one are real.

    Replication i has the seed `seed + i` in every scenario (default: the first scenario's seed), so
    that all are asked the same requests as long as they agree in `workload` and in whose tenants
    they have: what differs is what the scenarios do with them. Each difference is taken within a
    replication; its 95 % interval is Student's t over replications, which takes the differences to
    be about normal.

    A verdict is better, worse, no difference shown, or the same (in every replication, to the last
    bit). For each metric, p-values are corrected for the number of variants (Holm), so that under
    5 % of all metrics with nothing to find show a difference for any variant. There is no
    correction over metrics: of twenty without a difference, expect one to show one.

    `replications` defaults to the most that a scenario's `run.replications` asks for. `jobs` is the
    number of processes; a script that asks for several has to be guarded by
    `if __name__ == "__main__":`. Ctrl-C ends it early, and the comparison then says so.

    Raises UserError for whatever is wrong with a scenario, before the first run if that can be
    known, and if there are fewer than two.
    """
    variants = [Variant(name, scenario) for name, scenario in scenarios.items()]
    return compare_variants(variants, replications, seed=seed, jobs=jobs)


def compare_variants(
    variants: Sequence[Variant],
    replications: int | None = None,
    *,
    seed: int | None = None,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """`compare` for variants that know what they were made from; `progress` is told how many runs
    have finished."""
    if len(variants) < 2:
        raise UserError("a comparison needs at least two variants")
    count = replications_of(variants, replications)
    if count < 1:
        raise UserError(f"replications: {count} is less than 1")
    first = variants[0].scenario.seed if seed is None else seed
    metrics = metrics_of(prepare(variants))
    seeds = range(first, first + count)
    runs = run_variants(variants, metrics, seeds, jobs, progress)
    return judge_runs(variants, metrics, runs.finished, interrupted=runs.interrupted)


def replications_of(variants: Sequence[Variant], asked: int | None) -> int:
    """How often each variant is to be run."""
    return asked or max(variant.scenario.run.replications for variant in variants)


def judge_runs(
    variants: Sequence[Variant],
    metrics: Sequence[Metric],
    runs: Sequence[Run],
    *,
    interrupted: bool = False,
) -> Comparison:
    """The comparison that runs add up to, whatever made them. Metrics that no run has are left
    out, and so are replications that some variant lacks."""
    names = [variant.name for variant in variants]
    by_place = {(run.variant, run.replication): run for run in runs}
    whole = [
        replication
        for replication in sorted({run.replication for run in runs})
        if all((name, replication) in by_place for name in names)
    ]
    measured = [
        metric for metric in metrics if any(run.figures[metric.key] is not None for run in runs)
    ]
    lines = []
    for metric in measured:
        columns = [tuple(by_place[name, r].figures[metric.key] for r in whole) for name in names]
        lines += _lines(names, metric, columns)
    order = {name: place for place, name in enumerate(names)}
    lines.sort(key=lambda line: order[line.variant])
    return Comparison(
        variants=tuple(variants),
        metrics=tuple(measured),
        seeds=tuple(by_place[names[0], r].seed for r in whole),
        runs=tuple(runs),
        lines=tuple(lines),
        other_traffic=tuple(
            name
            for name in names[1:]
            if any(by_place[name, r].traffic != by_place[names[0], r].traffic for r in whole)
        ),
        interrupted=interrupted,
    )


def _lines(
    names: Sequence[str], metric: Metric, columns: Sequence[tuple[float | None, ...]]
) -> list[Line]:
    """A metric's lines, judged together."""
    differences = [paired_difference(columns[0], column) for column in columns[1:]]
    tested = [d.p for d in differences if d.p is not None]
    adjusted = iter(holm(tested))
    base = _mean(columns[0])
    lines = [Line(names[0], metric, columns[0], base, base)]
    for name, column, difference in zip(names[1:], columns[1:], differences, strict=True):
        p = None if difference.p is None else next(adjusted)
        verdict = judge(difference, p, higher_is_better=metric.higher_is_better, given=metric.given)
        lines.append(Line(name, metric, column, _mean(column), base, difference, p, verdict))
    return lines


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All figures of a comparison as plain values."""
    return {
        "baseline": comparison.baseline,
        "replications": len(comparison.seeds),
        "seeds": list(comparison.seeds),
        "interrupted": comparison.interrupted,
        "same_traffic": not comparison.other_traffic,
        "confidence": CONFIDENCE,
        "correction": "Holm, over the variants of a metric",
        "bound": bound.as_json(bound.distances(comparison)),
        "metrics": {
            metric.key: {
                "title": metric.title,
                "unit": metric.unit,
                "better": "higher" if metric.higher_is_better else "lower",
            }
            for metric in comparison.metrics
        },
        "variants": {
            variant.name: {
                "file": str(variant.file) if variant.file else None,
                "settings": dict(variant.settings),
                "same_traffic": variant.name not in comparison.other_traffic,
                "metrics": {
                    line.metric.key: _line(line)
                    for line in comparison.lines
                    if line.variant == variant.name
                },
            }
            for variant in comparison.variants
        },
    }


def _line(line: Line) -> dict[str, Any]:
    told: dict[str, Any] = {"mean": line.mean, "values": list(line.values)}
    if line.difference is None:
        return told
    difference = line.difference
    interval = None if difference.low is None else [difference.low, difference.high]
    return told | {
        "difference": difference.mean,
        "interval": interval,
        "relative_difference": line.relative,
        "p": difference.p,
        "adjusted_p": line.adjusted_p,
        "verdict": line.verdict.value if line.verdict else None,
    }
