"""How good predictions are: errors by metric and regime, and the decisions they lead to."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from simlora.validation.rows import BscRun
from simlora.validation.runner import Outcome

THROUGHPUT = "total_tokens_per_s"
# A choice of slots within this of the measured best is as good.
TOLERATED_LOSS = 0.03
LABELS = {
    "total_tokens_per_s": "throughput",
    "output_tokens_per_s": "output throughput",
    "requests_per_s": "requests per s",
    "tpot_mean_s": "TPOT",
    "itl_mean_s": "ITL",
    "ttft_mean_s": "TTFT",
    "ttft_median_s": "TTFT, median",
    "running_mean": "running requests",
}


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of one metric over some runs, relative: |p - m| / m (median and mean), their sign
    (median of p / m - 1), and the standard SMAPE (mean of 2 |p - m| / (|p| + |m|))."""

    count: int
    median_error: float
    mean_error: float
    bias: float
    smape: float


@dataclass(frozen=True, slots=True)
class Infeasible:
    """Starts that failed (`failed`, of them `caught` predicted), and those that did not (`started`,
    of them `false_alarms` predicted to fail)."""

    failed: int
    caught: int
    started: int
    false_alarms: int

    @property
    def recall(self) -> float | None:
        """Share of failed starts that were predicted."""
        return self.caught / self.failed if self.failed else None

    @property
    def false_alarm_rate(self) -> float | None:
        """Share of good starts that were predicted to fail."""
        return self.false_alarms / self.started if self.started else None


@dataclass(frozen=True, slots=True)
class Choices:
    """Workloads measured with several slot counts; in `good` of them the count that predictions
    call best is the measured best, or loses `TOLERATED_LOSS` of its throughput at most."""

    workloads: int
    good: int
    mean_loss: float

    @property
    def share(self) -> float | None:
        """Share of good choices."""
        return self.good / self.workloads if self.workloads else None


def errors(pairs: Iterable[tuple[float, float]]) -> Errors | None:
    """Errors of (predicted, measured) pairs; None if there are none to judge. A pair that was
    measured as 0 has no relative error and is left out."""
    kept = [(p, m) for p, m in pairs if m]
    if not kept:
        return None
    signed = [p / m - 1 for p, m in kept]
    sizes = [abs(e) for e in signed]
    return Errors(
        len(kept),
        statistics.median(sizes),
        statistics.fmean(sizes),
        statistics.median(signed),
        statistics.fmean(2 * abs(p - m) / (abs(p) + abs(m)) for p, m in kept),
    )


def pairs_of(
    outcomes: Iterable[Outcome], metric: str, keep: Callable[[BscRun], bool] = lambda run: True
) -> list[tuple[float, float]]:
    """(predicted, measured) of the runs that were measured and are fit for this metric.

    A run that was wrongly predicted not to start has no throughput; other metrics it has none of.
    """
    pairs = []
    for outcome in outcomes:
        run, predicted = outcome.run, outcome.predicted
        if metric not in run.measured or not keep(run) or not usable(run, metric):
            continue
        if metric in predicted.metrics:
            pairs.append((predicted.metrics[metric], run.measured[metric]))
        elif metric == THROUGHPUT:
            pairs.append((0.0, run.measured[metric]))
    return pairs


def usable(run: BscRun, metric: str) -> bool:
    """Whether a run's measurement of a metric says something about the server.

    A client at its cap bounds TTFT, not throughput; one that lags makes clumps of tokens, so that
    its ITL is nothing.
    """
    if metric.startswith("ttft"):
        return not run.client_capped
    return not (metric == "itl_mean_s" and run.client_lagged)


def infeasible(outcomes: Sequence[Outcome]) -> Infeasible:
    """Judge the predicted refusals to start."""
    failed = [o for o in outcomes if not o.run.feasible]
    started = [o for o in outcomes if o.run.feasible]
    return Infeasible(
        len(failed),
        sum(not o.predicted.feasible for o in failed),
        len(started),
        sum(not o.predicted.feasible for o in started),
    )


def choices(outcomes: Sequence[Outcome]) -> Choices:
    """Judge the number of slots that predictions recommend, workload by workload.

    A workload is one set of adapters, ranks and rates on one model; a run that did not start, or
    is predicted not to, has no throughput.
    """
    losses = [loss for _, loss in slot_choices(outcomes)]
    return Choices(
        len(losses),
        sum(loss <= TOLERATED_LOSS for loss in losses),
        statistics.fmean(losses) if losses else 0.0,
    )


def slot_choices(outcomes: Sequence[Outcome]) -> list[tuple[list[Outcome], float]]:
    """Each workload measured with several slot counts, and the share of the measured best
    throughput that the predicted best slot count loses."""
    workloads: defaultdict[tuple[object, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        run = outcome.run
        key = (run.model, run.adapters, run.max_rank, run.ranks, run.rates_rps, run.dataset)
        workloads[key].append(outcome)
    judged = []
    for group in workloads.values():
        if len({outcome.run.slots for outcome in group}) < 2:
            continue
        best = max(outcome.run.measured.get(THROUGHPUT, 0.0) for outcome in group)
        if best == 0:
            continue
        chosen = max(group, key=lambda o: (o.predicted.metrics.get(THROUGHPUT, -1.0), -o.run.slots))
        judged.append((group, 1 - chosen.run.measured.get(THROUGHPUT, 0.0) / best))
    return judged
