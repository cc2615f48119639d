"""Many runs at once: each predicted in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simlora.validation.predict import Prediction, predict
from simlora.validation.processes import run_all
from simlora.validation.recipe import MODELS, client_of, scenario_of
from simlora.validation.rows import BscRun


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run and what was predicted of it."""

    run: BscRun
    predicted: Prediction


@dataclass(frozen=True, slots=True)
class Settings:
    """`profiles`: the timing profile of each model, by its catalog name."""

    profiles: dict[str, str]
    seed: int = 0
    shorten: bool = True


def predict_run(run: BscRun, settings: Settings) -> Prediction:
    """Predict one published run. Raises UserError if it is none that the recipe knows."""
    profile = settings.profiles.get(MODELS.get(run.model, ""))
    scenario = scenario_of(run, profile, settings.seed)
    return predict(scenario, client_of(run), settings.shorten)


def predict_runs(
    runs: Sequence[BscRun],
    settings: Settings,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Predict many runs in `jobs` processes; `progress` is told how many are done. The order, and
    every figure but the time taken, is the same for any number of processes."""
    # Long ones first, so that no process is left with one at the end.
    order = sorted(range(len(runs)), key=lambda i: -_load(runs[i]))
    predictions = run_all(predict_run, [(runs[i], settings) for i in order], jobs, progress)
    by_run = dict(zip(order, predictions, strict=True))
    return [Outcome(run, by_run[index]) for index, run in enumerate(runs)]


def _load(run: BscRun) -> float:
    """Roughly the work of simulating a run: its arrivals."""
    rate_rps = sum(run.rates_rps) / len(run.rates_rps) * run.adapters
    return min(rate_rps, 60.0) * run.window_s
