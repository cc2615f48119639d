"""Fidelity of predictions: the figures that are published, and the bars they are held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from simlora import __version__
from simlora.report.words import counted
from simlora.validation.metrics import (
    LABELS,
    THROUGHPUT,
    Errors,
    choices,
    errors,
    infeasible,
    pairs_of,
)
from simlora.validation.recipe import CLIENT_CAP
from simlora.validation.rows import REGIMES, BscRun
from simlora.validation.runner import Outcome, Settings

# Features of a profile's range whose name alone does not say what they are.
_IN_WORDS = {
    "running": "running requests",
    "tokens": "tokens of a step",
    "passed_over": "requests passed over",
    "preset": "engine preset",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Errors of one metric over the runs that `runs` names."""

    metric: str
    runs: str
    errors: Errors


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and what is asked of it: at most, or with `at_least` at least, `bound`."""

    name: str
    value: float | None
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps the bound; None if there is no figure."""
        if self.value is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def unflagged(run: BscRun) -> bool:
    """Whether nothing is known to be wrong with the measurement."""
    return not (run.client_capped or run.client_lagged)


def error_lines(outcomes: Sequence[Outcome]) -> list[Line]:
    """Errors metric by metric: over unflagged runs, by regime, and over all that fit the metric."""
    lines = []
    for metric in LABELS:
        selections: list[tuple[str, Callable[[BscRun], bool]]] = [("unflagged", unflagged)]
        selections += [(regime, _in_regime(regime)) for regime in REGIMES]
        selections.append(("all", lambda run: True))
        for name, keep in selections:
            found = errors(pairs_of(outcomes, metric, keep))
            if found is not None:
                lines.append(Line(metric, name, found))
    return lines


def bars(outcomes: Sequence[Outcome]) -> list[Bar]:
    """What is asked of predictions, and how far they keep it."""
    throughput = errors(pairs_of(outcomes, THROUGHPUT, unflagged))
    tpot = errors(pairs_of(outcomes, "tpot_mean_s", unflagged))
    itl = errors(pairs_of(outcomes, "itl_mean_s", unflagged))
    ttft = errors(pairs_of(outcomes, "ttft_mean_s", _in_regime("underloaded")))
    starts, slots = infeasible(outcomes), choices(outcomes)
    return [
        Bar("throughput, median error", throughput.median_error if throughput else None, 0.03),
        Bar("throughput, mean SMAPE", throughput.smape if throughput else None, 0.05),
        Bar("TPOT, mean SMAPE", tpot.smape if tpot else None, 0.08),
        Bar("ITL, mean SMAPE", itl.smape if itl else None, 0.08),
        Bar("TTFT of underloaded runs, median error", ttft.median_error if ttft else None, 0.20),
        Bar("infeasible starts found", starts.recall, 0.95, at_least=True),
        Bar("infeasible starts, false alarms", starts.false_alarm_rate, 0.02),
        Bar("good choices of slots", slots.share, 0.90, at_least=True),
    ]


def fidelity(
    outcomes: Sequence[Outcome], settings: Settings, source: str, wall_s: float
) -> dict[str, Any]:
    """`fidelity.json`: every figure, plain. Times are seconds, errors fractions."""
    return {
        "source": source,
        "runs": len(outcomes),
        "profiles": settings.profiles,
        "client_cap": CLIENT_CAP,
        "bars": [{**asdict(bar), "met": bar.met} for bar in bars(outcomes)],
        "errors": [
            {"metric": line.metric, "runs": line.runs, **asdict(line.errors)}
            for line in error_lines(outcomes)
        ],
        "infeasible": asdict(infeasible(outcomes)),
        "slot_choices": asdict(choices(outcomes)),
        "extrapolating_runs": sum(bool(o.predicted.extrapolates) for o in outcomes),
        "extrapolates": dict(Counter(f for o in outcomes for f in o.predicted.extrapolates)),
        "scaled_runs": sum(o.predicted.scaled_from is not None for o in outcomes),
        "scaled_from": sorted(
            {o.predicted.scaled_from for o in outcomes if o.predicted.scaled_from is not None}
        ),
        "simulation": {"version": __version__, "seed": settings.seed, "wall_s": round(wall_s, 3)},
    }


def percent(error: float) -> str:
    """An error in a column of errors: all with one digit, so that they are told at a glance."""
    return f"{100 * error:.1f} %"


def signed_percent(error: float) -> str:
    """The same of an error that has a sign."""
    return f"{100 * error:+.1f} %".replace("-", "−")


def timing_notes(figures: dict[str, Any]) -> list[str]:
    """What to know of the times behind the figures of `fidelity`: a sentence for runs beyond the
    range of their profile, one for those whose profile was scaled."""
    notes = []
    runs, beyond, scaled = (figures[name] for name in ("runs", "extrapolating_runs", "scaled_runs"))
    if beyond:
        goes, of = ("goes", "its profile") if beyond == 1 else ("go", "their profiles")
        features = ", ".join(
            _IN_WORDS.get(name, name.replace("_", " ")) for name in figures["extrapolates"]
        )
        notes.append(
            f"{beyond} of {counted(runs, 'run')} {goes} beyond the range of {of} (in {features})"
        )
    if scaled:
        notes.append(
            f"The times of {counted(scaled, 'run')} are scaled by the roofline, from "
            f"{'; '.join(figures['scaled_from'])}"
        )
    return notes


def _in_regime(regime: str) -> Callable[[BscRun], bool]:
    return lambda run: run.regime == regime
