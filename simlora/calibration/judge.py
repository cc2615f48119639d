"""How good a fit is: errors on measurements that were left out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from simlora.calibration.design import Rows
from simlora.calibration.fit import fit_steps
from simlora.calibration.loads import fit_load_times, load_bytes
from simlora.calibration.tables import Floats, Table
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.scenario.schema import Targets

# Measurements for a cross-validation to mean anything.
FEWEST = 8
FEWEST_LOADS = 4
FEWEST_SIZES = 3  # a latency and a bandwidth take two


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
    """The fold of each row: groups are dealt out in a fixed random order, over no more folds than
    there are groups."""
    count = int(group.max()) + 1
    order = np.random.default_rng(0).permutation(count)
    fold = np.empty(count, dtype=np.int64)
    fold[order] = np.arange(count) % min(folds, count)
    return np.asarray(fold[group])


def cross_validate(rows: Rows, given: Mapping[str, float], folds: int) -> Floats | None:
    """Relative errors of each row, predicted by a fit to the other folds; None for too few rows,
    or where some folds cannot be fitted alone."""
    if len(rows) < FEWEST:
        return None
    fold = folds_of(rows.group, folds)
    errors = np.empty(len(rows))
    for number in range(int(fold.max()) + 1):
        left_out = fold == number
        if left_out.all():
            return None
        try:
            parameters = fit_steps(rows.take(~left_out), given).parameters
        except UserError:
            return None
        tested = rows.take(left_out)
        errors[left_out] = tested.predict(parameters) / tested.seconds - 1
    return errors


def loads_left_out(
    tables: Sequence[Table], model: ModelSpec | None, targets: Targets, host_bytes_per_s: float
) -> Floats | None:
    """Relative errors of each load time, predicted by a fit to the adapters of other sizes; None
    for too few loads or sizes, or where those of some sizes cannot be fitted alone."""
    nbytes = np.concatenate([load_bytes(table, model, targets) for table in tables])
    seconds = np.concatenate([table.columns["load_s"] for table in tables])
    sizes, group = np.unique(nbytes, return_inverse=True)
    if len(nbytes) < FEWEST_LOADS or len(sizes) < FEWEST_SIZES:
        return None
    errors = np.empty(len(nbytes))
    for number in range(len(sizes)):
        left_out = group == number
        try:
            load = fit_load_times(nbytes[~left_out], seconds[~left_out], host_bytes_per_s).load
        except UserError:
            return None
        predicted_s = load.latency_s + nbytes[left_out] / load.bytes_per_s
        errors[left_out] = predicted_s / seconds[left_out] - 1
    return errors
