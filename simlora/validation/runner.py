"""Many runs at once: each predicted in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from simlora.validation.predict import Prediction, predict
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
    predictions: list[Prediction | None] = [None] * len(runs)
    # Long ones first, so that no process is left with one at the end.
    order = sorted(range(len(runs)), key=lambda i: -_load(runs[i]))
    if jobs == 1:
        for done, index in enumerate(order, 1):
            predictions[index] = predict_run(runs[index], settings)
            if progress is not None:
                progress(done)
    else:
        # A fork would copy whatever threads hold at that moment.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            futures = {pool.submit(predict_run, runs[i], settings): i for i in order}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    predictions[futures[future]] = future.result()
                    if progress is not None:
                        progress(done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [
        Outcome(run, predicted)
        for run, predicted in zip(runs, predictions, strict=True)
        if predicted is not None
    ]


def _load(run: BscRun) -> float:
    """Roughly the work of simulating a run: its arrivals."""
    rate_rps = sum(run.rates_rps) / len(run.rates_rps) * run.adapters
    return min(rate_rps, 60.0) * run.window_s
