"""The variants of a comparison: several scenarios, or one with some fields varied."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.planning.axes import parse_values, refuse_overlaps, refuse_twice
from simlora.scenario.loading import load_scenario, with_place
from simlora.scenario.schema import Scenario

_OPTION = "--vary"
OPTION = f"{_OPTION} "


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the scenarios compared. `settings` are the varied fields, `file` what it was read
    from (None: it was made in Python)."""

    name: str
    scenario: Scenario
    settings: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None

    def explain(self, error: UserError) -> UserError:
        """The mistake with the variant's name, and its place in the file if it is known."""
        told = with_place(error, self.file, self.settings, OPTION) if self.file else error
        return UserError(f"variant {self.name}: {told}")


def variants_of_files(files: Sequence[Path]) -> list[Variant]:
    """A variant for each scenario file, named by the scenario. Raises UserError."""
    scenarios = [load_scenario(file) for file in files]
    names = [scenario.name for scenario in scenarios]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    for index, file in enumerate(files):
        if file in files[:index]:
            raise UserError(f"{file}: is given twice")
    return [
        Variant(name, scenario, {}, file)
        for name, scenario, file in zip(names, scenarios, files, strict=True)
    ]


def variants_of_grid(file: Path, variations: Sequence[str]) -> list[Variant]:
    """A variant for every combination of the values, the last key's changing fastest.

    Raises UserError with file, line and field, or the option and the field.
    """
    axes = [parse_values(text, _OPTION) for text in variations]
    keys = [key for key, _ in axes]
    refuse_twice(keys, _OPTION)
    refuse_overlaps(keys, _OPTION)
    if "seed" in keys:
        raise UserError(
            f"{OPTION}seed: every variant runs on the same seeds, so that they can be compared;"
            " choose the first one with --seed and their number with --replications"
        )
    grid: dict[str, list[Any]] = dict(axes)
    variants: list[Variant] = []
    for combination in product(*grid.values()):
        settings = dict(zip(grid, combination, strict=True))
        scenario = load_scenario(file, settings, option=OPTION)
        name = ", ".join(map(_told, combination))
        for other in variants:
            if other.scenario == scenario:
                raise UserError(
                    f"{OPTION}{' and '.join(grid)}: {other.name} and {name} give the same scenario"
                )
        variants.append(Variant(name, scenario, settings, file))
    return variants


def _told(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False).replace('"', "")
