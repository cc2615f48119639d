"""What a calibration has to say beside its figures: errors, ranges, and what to doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast, get_args

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
MISSED = 0.3  # median relative error of a fit that is not to be trusted
# Measured and predicted times that differ by about this factor are in different units.
UNIT_FACTOR = 1000.0
PLACES_NAMED = 5
# Metrics of runs by their name in a profile's `error`.
_METRICS = {
    "total_tokens_per_s": "throughput",
    "output_tokens_per_s": "output_throughput",
    "tpot_mean_s": "tpot",
    "itl_mean_s": "itl",
    "ttft_mean_s": "ttft",
    "e2e_mean_s": "e2e",
}
# Columns of steps that may be lacking: those that they matter with, and what is assumed instead.
_OPTIONAL = {
    "context_tokens": ("decode_seqs", "0"),
    "prefill_seqs": ("prefill_tokens", "1"),
    "prefill_attended_tokens": ("prefill_tokens", "0"),
    "distinct_adapters": ("step_s", "0"),
    "lora_tokens": ("distinct_adapters", "all tokens"),
    "rank": ("distinct_adapters", "0"),
    "slots": ("distinct_adapters", "0"),
    "passed_over": ("step_s", "0"),
}
_SAME_AS = {"decode_attended_tokens": "context_tokens"}


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
    ranks = table.columns.get("rank", np.zeros(len(table)))
    with_adapters = shapes.distinct_adapters > 0  # without, neither slots nor a rank has a price
    measured = {
        "tokens": shapes.tokens,
        "running": shapes.sequences,
        "attended_tokens": shapes.decode_attended_tokens,
        "distinct_adapters": shapes.distinct_adapters,
        "passed_over": shapes.passed_over,
        "slots": shapes.slots[with_adapters],
        "max_rank": ranks[with_adapters],
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
        if len(values) and (name not in told_by or told_by[name] & set(table.columns))
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


def unmeasured(ranges: Mapping[Feature, tuple[float, float]]) -> list[str]:
    """Features of a profile that the measurements do not tell. Where none had an adapter, a run
    that has one is beyond them, whatever its slots and rank."""
    no_adapters = ranges.get("distinct_adapters", (0.0, 0.0))[1] == 0
    missing = [
        name
        for name in get_args(Feature)
        if name not in ranges and not (no_adapters and name in ("slots", "max_rank"))
    ]
    if not missing:
        return []
    them = "them" if len(missing) > 1 else "it"
    warning = (
        f"the measurements do not tell {_listed(missing)}, so a run that goes beyond what was "
        f"measured of {them} will not be told so"
    )
    return [warning]


def uneven_columns(tables: Sequence[Table]) -> list[str]:
    """Columns that some of the tables of steps have, and others lack where they matter."""
    has = [{_SAME_AS.get(name, name) for name in table.columns} for table in tables]
    everything = set().union(*has)
    return [
        f"{table.path}: {name} is taken to be {default}, for it lacks the column that other step "
        "tables have"
        for table, own in zip(tables, has, strict=True)
        for name, (needed_with, default) in sorted(_OPTIONAL.items())
        if name in everything - own and needed_with in own
    ]


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


def distrust(
    held_out: Mapping[str, ErrorSummary], residuals: Mapping[str, ErrorSummary]
) -> list[str]:
    """Whether the step times are missed by so much that the profile is of no use: those that were
    left out of the fit or, where none was, those of the fit itself."""
    medians = [held_out[name].median for name in ("step", "tpot", "itl") if name in held_out]
    if not medians:
        medians = [one.median for one in residuals.values()]
    if max(medians, default=0.0) <= MISSED:
        return []
    warning = (
        f"DO NOT TRUST THIS PROFILE: half of the measurements are missed by {max(medians):.0%} or "
        "more; likely times are in mixed units, a column is mapped to another one, or the time "
        "depends on something that no column tells"
    )
    return [warning]


def unit_warnings(errors: Floats, places: Sequence[str]) -> list[str]:
    """Measurements that others are a thousand times as long or short as, by the fit's errors."""
    size = np.log(np.maximum(1 + errors, 1e-300)) / np.log(UNIT_FACTOR)
    warnings = []
    for power, long, short in (
        (-1, "1,000 times", "a thousandth"),
        (1, "a thousandth", "1,000 times"),
    ):
        odd = np.abs(size - power) < 1 / 6  # within half a power of ten
        if not odd.any():
            continue
        if odd.sum() > len(odd) / 2:  # the fit went by the others
            odd, long = ~odd, short
        named = [places[row] for row in np.flatnonzero(odd).tolist()]
        more = f" and {len(named) - PLACES_NAMED} more" if len(named) > PLACES_NAMED else ""
        warnings.append(
            f"{', '.join(named[:PLACES_NAMED])}{more}: about {long} as long as the other "
            "measurements let expect: are units mixed up?"
        )
    return warnings


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


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
