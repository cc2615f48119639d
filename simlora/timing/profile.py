"""Timing profiles: what was measured of one server on one kind of hardware, and how well it holds.

A profile is a JSON file that `calibrate` writes; the shipped ones are found by name.
"""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator

from simlora.errors import UserError
from simlora.scenario.catalog import Weights
from simlora.scenario.field_types import Name, NonNegativeFloat, PositiveInt
from simlora.scenario.presets import PRESETS
from simlora.scenario.problems import did_you_mean, dotted, given
from simlora.scenario.strict import Strict
from simlora.scenario.wording import explain
from simlora.timing.parameters import LoadParameters, StepParameters

__all__ = [
    "Feature",
    "LoadParameters",
    "Profile",
    "Provenance",
    "StepParameters",
    "is_profile_path",
    "load_profile",
    "profile_names",
]

# What a profile's range is given in. The first two are fixed by the scenario, the others vary from
# step to step.
Feature = Literal[
    "slots",
    "max_rank",
    "distinct_adapters",
    "running",
    "tokens",
    "attended_tokens",
    "passed_over",
]

_LARGEST_BYTES = 4_000_000


def _iso_date(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"must be a date like 2025-12-31, not {given(text)}") from None
    return text


def _pair(bounds: Any) -> Any:
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        raise ValueError(f"must be a pair [least, most], not {given(bounds)}")
    return tuple(bounds)


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"must be [least, most], not [{bounds[0]:g}, {bounds[1]:g}]")
    return bounds


Range = Annotated[
    tuple[NonNegativeFloat, NonNegativeFloat], BeforeValidator(_pair), AfterValidator(_ordered)
]


class Provenance(Strict):
    """Where a profile's figures come from. `rows`: measurements used; `fitted_s`: seconds the fit
    took; `date`: of the fit, as YYYY-MM-DD; `simlora`: the version that fitted."""

    source: str
    rows: Annotated[int, Field(ge=0)]
    fitted_s: NonNegativeFloat | None = None
    date: Annotated[str, AfterValidator(_iso_date)]
    simlora: str


class Profile(Strict):
    """Measured figures of a `server` on `tensor_parallel` GPUs that serve `model`.

    `preset` is the engine preset that behaves like the server. `padded`: adapters cost by the rank
    that slots are made for, not by their own. `load` replaces the GPU's host link and
    `adapters.warm.latency_s` (None: those stay). `request_overhead_s` is what a request spends
    outside the engine (client, HTTP, tokenizer); it comes before the engine sees the request.
    `holds_for`: least and most of each feature in the measurements; of what varies from step to
    step, the largest value in a run has to lie in there, smaller steps may be smaller. `error`:
    relative errors on measurements that were not fitted, by name; empty if there are none.
    """

    name: Name
    server: str
    gpu: str
    model: str
    weights: Weights = "bf16"
    tensor_parallel: PositiveInt = 1
    preset: str
    padded: bool
    step: StepParameters
    load: LoadParameters | None = None
    request_overhead_s: NonNegativeFloat = 0.0
    holds_for: dict[Feature, Range] = Field(default_factory=dict)
    error: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    provenance: Provenance

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, preset: str) -> str:
        if preset not in PRESETS:
            raise ValueError(f"{given(preset)} is not known: {did_you_mean(preset, PRESETS)}")
        return preset

    @property
    def measured_on(self) -> str:
        """Hardware and model in words: `2 x h100-80gb, llama-3.1-70b in fp8`."""
        gpus = f"{self.tensor_parallel} x {self.gpu}" if self.tensor_parallel > 1 else self.gpu
        weights = f" in {self.weights}" if self.weights != "bf16" else ""
        return f"{gpus}, {self.model}{weights}"


def profile_names() -> list[str]:
    """Names of the shipped profiles, sorted."""
    names = (entry.name for entry in _shipped().iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def is_profile_path(name: str) -> bool:
    """Whether a profile's name is meant as a path to a JSON file."""
    return "/" in name or "\\" in name or name.endswith(".json")


def load_profile(name_or_path: str | Path) -> Profile:
    """A profile from the catalog or from a JSON file.

    Raises UserError if there is none, or if a file is not a profile.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, Path) or is_profile_path(name):
        return _read(Path(name_or_path))
    if name not in profile_names():
        raise UserError(
            f'no timing profile "{name}": {did_you_mean(name, profile_names())}, '
            "or a path to a JSON file that calibrate wrote"
        )
    return _load_shipped(name)


@cache
def _load_shipped(name: str) -> Profile:
    return _parse((_shipped() / f"{name}.json").read_text("utf-8"), name)


def _shipped() -> Traversable:
    return resources.files(__package__) / "profiles"


def _read(path: Path) -> Profile:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"{path}: is too large for a timing profile")
        text = path.read_text("utf-8-sig")
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory, not a timing profile") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text, so it is no timing profile") from None
    return _parse(text, str(path))


def _parse(text: str, where: str) -> Profile:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: is not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or endless brackets
        raise UserError(f"{where}: is not a timing profile") from None
    if not isinstance(data, dict):
        raise UserError(f"{where}: a timing profile must be a JSON object, not {given(data)}")
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        field, problem = explain(error)
        raise UserError(f"{where}: {dotted(field)}: {problem}") from None
