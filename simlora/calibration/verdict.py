"""What a calibration has to say beside its figures: errors, ranges, and what to doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np

from simlora.calibration.design import Shapes
from simlora.calibration.fit import Fit
from simlora.calibration.judge import ErrorSummary, summarize
from simlora.calibration.runs import MeasuredRun, RunsFit
from simlora.calibration.tables import Floats, Table
from simlora.timing.profile import Feature

# Lengths of a scenario's requests that are further from the measured ones are remarked on.
LENGTHS_AGREE = 0.05
POORLY_KNOWN = 0.5  # relative standard error
# Metrics of runs by their name in a profile's `error`.
_METRICS = {
    "total_tokens_per_s": "throughput",
    "output_tokens_per_s": "output_throughput",
    "tpot_mean_s": "tpot",
    "itl_mean_s": "itl",
    "ttft_mean_s": "ttft",
    "e2e_mean_s": "e2e",
}


def summaries(errors: Mapping[str, Floats]) -> dict[str, ErrorSummary]:
    """Summaries of those that were measured at all."""
    known = {name: summarize(values) for name, values in errors.items()}
    return {name: summary for name, summary in known.items() if summary is not None}


def run_errors(judged: RunsFit) -> dict[str, ErrorSummary]:
    """Errors of each metric over all runs, and of the first token over those that hardly wait."""
    errors = {_METRICS[name]: values for name, values in judged.errors.items() if name in _METRICS}
    if "ttft" in errors:
        errors["ttft_underloaded"] = np.where(judged.calm, errors["ttft"], np.nan)
    return summaries(errors)


def profile_errors(errors: Mapping[str, ErrorSummary]) -> dict[str, float]:
    """The errors as a profile states them."""
    return {
        f"{name}_{kind}": float(f"{value:.4g}")
        for name, summary in errors.items()
        for kind, value in (("median", summary.median), ("smape", summary.smape))
    }


def step_ranges(shapes: Shapes, table: Table) -> dict[str, tuple[float, float]]:
    """Least and most of each of a profile's features in a table of steps; what the table does not
    say is left out."""
    measured = {
        "tokens": shapes.tokens,
        "running": shapes.sequences,
        "attended_tokens": shapes.decode_attended_tokens,
        "distinct_adapters": shapes.distinct_adapters,
        "passed_over": shapes.passed_over,
        "slots": shapes.slots,
        "max_rank": table.columns.get("rank", np.zeros(len(table))),
    }
    told_by = {
        "attended_tokens": {"context_tokens", "decode_attended_tokens"},
        "max_rank": {"rank"},
        "slots": {"slots"},
        "passed_over": {"passed_over"},
    }
    return {
        name: (float(values.min()), float(values.max()))
        for name, values in measured.items()
        if name not in told_by or told_by[name] & set(table.columns)
    }


def union_of(
    ranges: Iterable[Mapping[str, tuple[float, float]]],
) -> dict[Feature, tuple[float, float]]:
    """The ranges that cover all of them."""
    union: dict[str, tuple[float, float]] = {}
    for one in ranges:
        for name, (low, high) in one.items():
            known = union.get(name, (low, high))
            union[name] = (min(known[0], low), max(known[1], high))
    return cast(dict[Feature, tuple[float, float]], union)


def length_warnings(runs: Sequence[MeasuredRun], judged: RunsFit) -> list[str]:
    """Runs whose scenario asks for other lengths than were measured."""
    warnings = []
    for name, what in (("input_tokens_mean", "prompt"), ("output_tokens_mean", "output")):
        for run, one in zip(runs, judged.simulated, strict=True):
            if name not in run.measured or name not in one.figures:
                continue
            if abs(one.figures[name] / run.measured[name] - 1) > LENGTHS_AGREE:
                warnings.append(
                    f"{run.place}: completed requests have {one.figures[name]:.1f} {what} tokens "
                    f"in simulation, but had {run.measured[name]:.1f}: is workload.{what}_tokens "
                    "right?"
                )
    return warnings


def fit_warnings(fit: Fit, rows: int) -> list[str]:
    """Figures that the measurements hardly tell."""
    fitted = [one for one in fit.estimates if one.status == "fitted"]
    warnings = []
    if rows < 2 * len(fitted):
        warnings.append(
            f"only {rows} measurements for {len(fitted)} figures: they will fit well and mean "
            "little"
        )
    for group in fit.together:
        warnings.append(
            f"{', '.join(group)} are known together rather than each: measure steps that differ "
            "in one of them alone"
        )
    for one in fitted:
        if one.relative_error is not None and one.relative_error > POORLY_KNOWN:
            warnings.append(f"{one.name} is known to ± {one.relative_error:.0%} only")
    return warnings
