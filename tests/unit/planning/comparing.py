"""Comparisons without a simulation: runs with figures by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simlora.planning.compare import Comparison, judge_runs
from simlora.planning.metrics import Metric, metrics_of
from simlora.planning.runner import Run
from simlora.planning.variants import Variant
from simlora.scenario.deployment import expand
from tests.simulating import small_scenario

TTFT, HITS, LOADS = "latency.ttft_s.p99", "adapters.hit_ratio", "adapters.loads"


def metrics() -> list[Metric]:
    return metrics_of([expand(small_scenario())])


def judged(
    figures: Mapping[str, Mapping[str, Sequence[float | None]]],
    traffic: Mapping[str, str] | None = None,
    *,
    interrupted: bool = False,
) -> Comparison:
    """The comparison of variants from the values of some metrics, one a replication."""
    variants = [Variant(name, small_scenario()) for name in figures]
    known: dict[str, float | None] = {metric.key: None for metric in metrics()}
    runs = [
        Run(
            name,
            replication,
            7 + replication,
            known | {key: values[replication] for key, values in of_one.items()},
            (traffic or {}).get(name, ""),
        )
        for name, of_one in figures.items()
        for replication in range(max(map(len, of_one.values()), default=0))
    ]
    return judge_runs(variants, metrics(), runs, interrupted=interrupted)
