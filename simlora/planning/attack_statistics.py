"""How much a measured time tells about a secret: AUC and bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from simlora.results.arrays import Bools, Floats

_Z_95 = float(stats.norm.ppf(0.975))


@dataclass(frozen=True, slots=True)
class Auc:
    """The chance that a right guess is answered sooner than a wrong one, a tie counting half, with
    its 95 % interval. 0.5: the time tells nothing; 1: it tells all."""

    value: float
    low: float
    high: float


def auc(time_s: Floats, right: Bools) -> Auc:
    """Area under the ROC curve of "the sooner, the rather right": the Mann-Whitney statistic over
    the number of pairs, with the interval of DeLong, DeLong and Clarke-Pearson (Biometrics 44,
    1988), which assumes nothing about how the times are distributed; cut to 0 and 1.

    NaN if all guesses were right or all wrong. Perfectly separated times give an interval of no
    width: no pair in the sample says otherwise.
    """
    of_right, of_wrong = time_s[right], time_s[~right]
    m, n = len(of_right), len(of_wrong)
    if not m or not n:
        return Auc(np.nan, np.nan, np.nan)
    value = float(stats.mannwhitneyu(of_wrong, of_right, method="asymptotic").statistic) / (m * n)
    # For each guess the share of the other kind's that it is on the right side of.
    ranks = stats.rankdata(time_s)
    sooner = 1 - (ranks[right] - stats.rankdata(of_right)) / n
    later = (ranks[~right] - stats.rankdata(of_wrong)) / m
    if m < 2 or n < 2:
        return Auc(value, 0.0, 1.0)
    half = _Z_95 * float(np.sqrt(sooner.var(ddof=1) / m + later.var(ddof=1) / n))
    return Auc(value, max(value - half, 0.0), min(value + half, 1.0))


def bits_per_guess(time_s: Floats, right: Bools) -> float:
    """What one time tells about one guess: the mutual information, in bits, of the guess and the
    verdict of a threshold ("right, if answered within so many seconds").

    The threshold that parts the guesses at even places best (Youden's J) is judged on those at odd
    places, which it has never seen, so that no skill is read into noise. What is estimated is the
    information between the relative frequencies of four cases, which is none or more by its nature;
    the price is that N judged guesses that tell nothing measure 1 / (2 N ln 2) bits on average
    (G test with one degree of freedom): 0.0004 with N = 2,000. NaN without guesses of both kinds.
    """
    if right.all() or not right.any():
        return np.nan
    threshold_s = best_threshold(time_s[::2], right[::2])
    verdict, truth = time_s[1::2] <= threshold_s, right[1::2]
    return mutual_information(np.histogram2d(verdict, truth, bins=2, range=[[0, 1], [0, 1]])[0])


def best_threshold(time_s: Floats, right: Bools) -> float:
    """The time up to which guesses are to be called right: of the measured ones, that with the
    largest Youden's J, the true positive rate less the false positive rate; -inf: call none."""
    rights, wrongs = max(int(right.sum()), 1), max(int((~right).sum()), 1)
    order = np.argsort(time_s, kind="stable")
    gain = np.cumsum(np.where(right[order], 1 / rights, -1 / wrongs))
    last_of_ties = np.append(np.diff(time_s[order]) > 0, True)
    gain = np.where(last_of_ties, gain, -np.inf)
    best = int(np.argmax(gain))
    return float(time_s[order][best]) if gain[best] > 0 else -np.inf


def mutual_information(counts: NDArray[np.float64]) -> float:
    """Bits between the row and the column of a table of counts."""
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    entropies = [stats.entropy(part, base=2) for part in (rows, columns, counts.ravel())]
    # Rounding may leave a trace of less than nothing.
    return max(float(entropies[0] + entropies[1] - entropies[2]), 0.0)
