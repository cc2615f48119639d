"""Predictions beside measurements as a page shows them: points, errors, and what lies outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simlora.calibration.calibrate import Calibration
from simlora.dashboard.fidelity_predict import Judged
from simlora.dashboard.fidelity_words import METRICS, feature, span
from simlora.timing.profile import Profile
from simlora.validation.metrics import errors

if TYPE_CHECKING:
    import pandas as pd

_ERRORS = ["metric", "runs", "count", "median", "mean", "bias", "smape"]


@dataclass(frozen=True, slots=True)
class FittedProfile:
    """A profile that was fitted: its JSON, its `figures` (seconds) and how well each is known, what
    it was fitted to, and what to doubt."""

    text: str
    figures: pd.DataFrame
    rows: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`points`: one row a run and metric, with `predicted` and `measured` in seconds or per second;
    `errors`: by metric and group of runs; `beyond`: runs outside of the profile's range, and in
    what. `judged` of them were predicted; `told` says of what and by what."""

    told: str
    judged: int
    points: pd.DataFrame
    errors: pd.DataFrame
    beyond: pd.DataFrame
    notes: tuple[str, ...]
    fitted: FittedProfile | None


def fitted_of(result: Calibration) -> FittedProfile:
    """What a page shows of a fit."""
    import pandas as pd

    figures = pd.DataFrame(
        [
            {
                "figure": one.name,
                "value_s": one.value,
                "known": f"± {one.relative_error:.0%}"
                if one.relative_error is not None
                else one.reason or one.status,
            }
            for one in result.fit.estimates
        ]
    )
    return FittedProfile(
        result.profile.model_dump_json(indent=2) + "\n",
        figures,
        result.profile.provenance.rows,
        result.warnings,
    )


def figures_of(
    judged: Sequence[Judged],
    source: str,
    known: dict[str, Profile],
    notes: Sequence[str],
    fitted: FittedProfile | None,
) -> Fidelity:
    """What a page shows of these predictions of `source` by the profiles `known`."""
    import pandas as pd

    points = pd.DataFrame(
        [
            {
                "run": one.name,
                "group": one.group or "runs",
                "metric": metric,
                "predicted": float(one.predicted[metric]),
                "measured": float(one.measured[metric]),
                "beyond": ", ".join(map(feature, one.beyond)),
            }
            for one in judged
            for metric in METRICS
            if one.predicted.get(metric) is not None and one.measured.get(metric)
        ],
        columns=["run", "group", "metric", "predicted", "measured", "beyond"],
    )
    ranges = {name: bounds for one in known.values() for name, bounds in one.holds_for.items()}
    notes = list(notes)
    several = len(known) != 1
    beyond = pd.DataFrame(
        [
            {
                "run": one.name,
                "beyond the range in": ", ".join(
                    feature(name)
                    + ("" if value is None else f" {value:,.0f}")
                    + ("" if several or name not in ranges else f" ({span(ranges[name])})")
                    for name, value in one.beyond.items()
                ),
            }
            for one in judged
            if one.beyond
        ]
    )
    starts = [one.starts for one in judged if one.starts is not None]
    refused = [predicted for predicted, measured in starts if not measured]
    if refused:
        notes.append(
            f"Predicted not to start: {refused.count(False):,} of the {len(refused):,} that did not"
        )
    alarms = sum(measured and not predicted for predicted, measured in starts)
    if alarms:
        notes.append(f"Predicted not to start, but did: {alarms:,}")
    scaled = sorted({one.scaled_from for one in judged if one.scaled_from})
    if scaled:
        count = sum(one.scaled_from is not None for one in judged)
        notes.append(
            f"The times of {count:,} of {len(judged):,} are scaled by the roofline, from "
            f"{'; '.join(scaled)}"
        )
    by = " and ".join(one.name for one in known.values()) or "the profile of each scenario"
    return Fidelity(
        f"{source}: {len(judged):,} predicted by {by}",
        len(judged),
        points,
        _errors(points),
        beyond,
        tuple(notes),
        fitted,
    )


def _errors(points: pd.DataFrame) -> pd.DataFrame:
    """Errors by metric: over everything that was measured of it, and by group."""
    import pandas as pd

    rows = []
    for metric in METRICS:
        own = points[points["metric"] == metric]
        groups = list(dict.fromkeys(own["group"]))
        parts = [("all", own)]
        if len(groups) > 1:
            parts += [(name, own[own["group"] == name]) for name in groups]
        for name, kept in parts:
            found = errors(zip(kept["predicted"], kept["measured"], strict=True))
            if found is not None:
                rows.append(
                    {
                        "metric": metric,
                        "runs": name,
                        "count": found.count,
                        "median": found.median_error,
                        "mean": found.mean_error,
                        "bias": found.bias,
                        "smape": found.smape,
                    }
                )
    return pd.DataFrame(rows, columns=_ERRORS)
