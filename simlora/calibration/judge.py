"""How good a fit is: errors on measurements that were left out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from simlora.calibration.design import Rows
from simlora.calibration.fit import fit_steps
from simlora.calibration.tables import Floats
from simlora.errors import UserError

FEWEST = 8  # measurements, for a cross-validation to mean anything


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Relative errors in short: `smape` is the mean of 2 |p - m| / (p + m), `bias` the median."""

    count: int
    median: float
    smape: float
    p90: float
    bias: float

    def as_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return asdict(self)


def summarize(errors: Floats) -> ErrorSummary | None:
    """The summary of predicted / measured - 1; NaN is left out, None if nothing remains."""
    known = errors[~np.isnan(errors)]
    if not len(known):
        return None
    size = np.abs(known)
    return ErrorSummary(
        len(known),
        float(np.median(size)),
        float(np.mean(2 * size / (2 + known))),
        float(np.quantile(size, 0.9)),
        float(np.median(known)),
    )


def folds_of(group: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row: groups are dealt out in a fixed random order."""
    count = int(group.max()) + 1
    order = np.random.default_rng(0).permutation(count)
    fold = np.empty(count, dtype=np.int64)
    fold[order] = np.arange(count) % folds
    return np.asarray(fold[group])


def cross_validate(rows: Rows, given: Mapping[str, float], folds: int) -> Floats | None:
    """Relative errors of each row, predicted by a fit to the other folds; None for too few rows,
    or where some folds cannot be fitted alone."""
    if len(rows) < FEWEST or len(np.unique(rows.group)) < folds:
        return None
    fold = folds_of(rows.group, folds)
    errors = np.empty(len(rows))
    for number in range(folds):
        left_out = fold == number
        try:
            parameters = fit_steps(rows.take(~left_out), given).parameters
        except UserError:
            return None
        tested = rows.take(left_out)
        errors[left_out] = tested.predict(parameters) / tested.seconds - 1
    return errors
