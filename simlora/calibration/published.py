"""Published runs as measurements to fit to."""

from __future__ import annotations

from pathlib import Path

from simlora.calibration.runs import MeasuredRun
from simlora.errors import UserError
from simlora.validation.recipe import MODELS, client_of, scenario_of
from simlora.validation.rows import held_out, read_runs


def published_runs(path: Path, model: str, holdout: float, seed: int) -> list[MeasuredRun]:
    """The runs of `model` in a table of published runs, by the recipe.

    Left out are the share `holdout` of the configurations that `validate --holdout` judges with the
    same seed, and runs that did not start: they tell no time. Raises UserError if none is left.
    """
    runs = read_runs(path)
    judged = {run.config_id for run in held_out(runs, holdout, seed)} if holdout else set()
    measured = [
        MeasuredRun(
            place=run.run_id,
            scenario=scenario_of(run, seed=seed),
            measured={
                name: value
                for name, value in run.measured.items()
                if name != "itl_mean_s" or not run.client_lagged
            },
            client=client_of(run),
        )
        for run in runs
        if MODELS.get(run.model) == model
        and run.feasible
        and run.config_id not in judged
        and "tpot_mean_s" in run.measured
    ]
    if not measured:
        raise UserError(f"{path}: has no run of {model} to fit to")
    return measured
