"""Statistics of a paired comparison: t-intervals of differences, Holm's correction, verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

CONFIDENCE = 0.95


class Verdict(StrEnum):
    """What a difference to the baseline says."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "no difference shown"
    SAME = "the same"  # in every replication, to the last bit
    ONE_REPLICATION = "one replication tells no difference"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Difference:
    """Variant less baseline, over the replications (`pairs`) in which both have a figure.

    `low` to `high` is the two-sided 95 % t-interval of the mean difference, and `p` the two-sided
    p-value of the paired t-test against no difference; None with fewer than two pairs. Where the
    difference is the same in every replication, the interval is a point.
    """

    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired_difference(
    baseline: Sequence[float | None], variant: Sequence[float | None]
) -> Difference:
    """The paired difference of two columns of figures, one a replication in the same order.

    >>> difference = paired_difference([1.0, 2.0, 4.0], [2.0, 4.0, 7.0])
    >>> [round(x, 3) for x in (difference.low, difference.mean, difference.high)]
    [-0.484, 2.0, 4.484]
    """
    differences = [
        b - a for a, b in zip(baseline, variant, strict=True) if a is not None and b is not None
    ]
    pairs = len(differences)
    if not pairs:
        return Difference(0)
    mean = math.fsum(differences) / pairs
    if pairs == 1:
        return Difference(1, mean)
    if len(set(differences)) == 1:
        (only,) = set(differences)
        return Difference(pairs, only, only, only, 0.0 if only else 1.0)
    from scipy.special import stdtr, stdtrit  # Student's t: its distribution function and inverse

    variance = math.fsum((d - mean) ** 2 for d in differences) / (pairs - 1)
    error = math.sqrt(variance / pairs)
    margin = float(stdtrit(pairs - 1, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(stdtr(pairs - 1, -abs(mean) / error))
    return Difference(pairs, mean, mean - margin, mean + margin, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for there being several (Holm 1979, Scand. J. Statist. 6, 65-70): the
    chance that any true null hypothesis among them falls below 5 % is at most 5 %.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def judge(
    difference: Difference, adjusted_p: float | None, *, higher_is_better: bool, given: bool = False
) -> Verdict:
    """The verdict on a difference, given its p-value after `holm`.

    `given`: the figure follows from the scenario and not from chance, as a price does, so that one
    replication is enough.
    """
    if difference.mean is None:
        return Verdict.NOT_MEASURED
    if given and difference.pairs == 1:
        adjusted_p = 0.0 if difference.mean else 1.0
    if adjusted_p is None:
        return Verdict.ONE_REPLICATION
    if difference.mean == 0 and (given or difference.low == difference.high):
        return Verdict.SAME
    if adjusted_p >= 1 - CONFIDENCE:
        return Verdict.UNCLEAR
    return Verdict.BETTER if (difference.mean > 0) == higher_is_better else Verdict.WORSE
