"""What must hold between the `cost` block and the rest of a scenario."""

from __future__ import annotations

from simlora.errors import UserError
from simlora.scenario.catalog import load_gpu, load_model
from simlora.scenario.cost import Cost
from simlora.scenario.problems import FieldError, Path, did_you_mean
from simlora.scenario.schema import ModelChoice, Scenario


def check_cost(scenario: Scenario, tiers: list[str]) -> None:
    """Raises FieldError for the first thing that does not fit together; `tiers` are those that
    there are."""
    cost = scenario.cost
    for field, by_tier in (("prices", cost.prices), ("credits", cost.credits)):
        for name in by_tier:
            if name not in tiers:
                hint = did_you_mean(name, tiers)
                raise FieldError(("cost", field, name), f'unknown tier "{name}"; {hint}')
    if cost.evaluation_usd_each and cost.training is None:
        raise FieldError(
            ("cost", "evaluation_usd_each"),
            "is for each training, so it needs cost.training to say how often there is one",
        )
    for index, gpu in enumerate(cost.density.gpus):
        _check_gpu(scenario, ("density", "gpus", index), gpu)
    for index, model in enumerate(cost.density.models):
        _check_model(scenario, ("density", "models", index), model)
    if cost.training is not None:
        _check_gpu(scenario, ("training", "gpu"), cost.training.gpu)
    full = cost.alternatives.full_training
    if full is not None:
        _check_gpu(scenario, ("alternatives", "full_training", "gpu"), full.gpu)
    if cost.migration is not None:
        _check_migration(scenario, cost)


def _check_migration(scenario: Scenario, cost: Cost) -> None:
    asked, training = cost.migration, cost.training
    assert asked is not None
    _check_model(scenario, ("migration", "to"), asked.to)
    if training is None and asked.gpu_hours_each is None:
        raise FieldError(
            ("cost", "migration"), "needs gpu_hours_each, or cost.training to estimate it from"
        )
    if training is not None and asked.gpus < training.gpus:
        raise FieldError(
            ("cost", "migration", "gpus"),
            f"{asked.gpus} are less than the {training.gpus} that one training takes "
            "(cost.training.gpus)",
        )


def _check_gpu(scenario: Scenario, field: Path, name: str) -> None:
    try:
        load_gpu(name, scenario.catalog)
    except UserError as error:
        raise FieldError(("cost", *field), str(error)) from None


def _check_model(scenario: Scenario, field: Path, name: str) -> None:
    try:
        load_model(ModelChoice(name=name), scenario.catalog)
    except UserError as error:
        raise FieldError(("cost", *field), str(error)) from None
