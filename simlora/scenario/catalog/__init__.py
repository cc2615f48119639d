"""GPUs and models by name: the shipped catalog, the user's own entries, Hugging Face configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from simlora.errors import UserError
from simlora.scenario.catalog.huggingface import read_config
from simlora.scenario.catalog.specs import TARGET_SETS, GpuSpec, ModelSpec, Spec, Weights
from simlora.scenario.problems import FieldError, did_you_mean, given
from simlora.scenario.schema import ModelChoice, UserCatalog
from simlora.scenario.wording import explain

__all__ = [
    "TARGET_SETS",
    "GpuSpec",
    "ModelSpec",
    "Weights",
    "gpu_names",
    "load_gpu",
    "load_model",
    "model_names",
]

_EMPTY = UserCatalog()
_SpecT = TypeVar("_SpecT", bound=Spec)


@cache
def _shipped(kind: str) -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("data", f"{kind}.json").read_text("utf-8")
    entries: dict[str, dict[str, Any]] = json.loads(text)
    return entries


def gpu_names(user_catalog: UserCatalog = _EMPTY) -> list[str]:
    """Names that `fleet.*.gpu` may have: the shipped ones, then the user's own."""
    return list(_shipped("gpus") | user_catalog.gpus)


def model_names(user_catalog: UserCatalog = _EMPTY) -> list[str]:
    """Names that `model` may have: the shipped ones, then the user's own."""
    return list(_shipped("models") | user_catalog.models)


def load_gpu(name: str, user_catalog: UserCatalog = _EMPTY) -> GpuSpec:
    """The figures of a GPU. Raises UserError if nobody knows it or an own entry is not valid."""
    if name not in user_catalog.gpus and name not in _shipped("gpus"):
        raise UserError(f'no GPU "{name}": {did_you_mean(name, gpu_names(user_catalog))}')
    return _build(GpuSpec, name, "gpus", user_catalog.gpus)


def load_model(choice: ModelChoice, user_catalog: UserCatalog = _EMPTY) -> ModelSpec:
    """The shapes of a model, by catalog name or from a Hugging Face `config.json`.

    Raises UserError.
    """
    name = choice.name
    if name in user_catalog.models or name in _shipped("models"):
        return _build(ModelSpec, name, "models", user_catalog.models)
    if is_config_path(name):
        return read_config(Path(name))
    raise UserError(
        f'no model "{name}": {did_you_mean(name, model_names(user_catalog))}, '
        "or a path to a Hugging Face config.json"
    )


def is_config_path(name: str) -> bool:
    """Whether a model's name is meant as a path."""
    return "/" in name or "\\" in name or name.endswith(".json")


def _build(
    spec: type[_SpecT], name: str, kind: str, own: Mapping[str, Mapping[str, Any]]
) -> _SpecT:
    fields = _inherit(name, kind, own, ())
    try:
        return spec.model_validate({**fields, "name": name})
    except ValidationError as error:
        path, problem = explain(error)
        raise FieldError(("catalog", kind, name, *path), problem) from None


def _inherit(
    name: str, kind: str, own: Mapping[str, Mapping[str, Any]], seen: tuple[str, ...]
) -> dict[str, Any]:
    """The entry's fields over those of its `base`; an entry may change the shipped one it shadows.

    Figures given by the user carry no source of the shipped entry they replace.
    """
    shipped = _shipped(kind)
    if name not in own or name in seen:
        if name not in shipped:
            raise FieldError(("catalog", kind, seen[-1], "base"), "entries are each other's base")
        return dict(shipped[name])
    entry = dict(own[name])
    if "base" not in entry:
        return entry
    base = entry.pop("base")
    if not isinstance(base, str) or (base not in own and base not in shipped):
        hint = did_you_mean(str(base), {**shipped, **own})
        raise FieldError(("catalog", kind, name, "base"), f"{given(base)} is not known: {hint}")
    inherited = _inherit(base, kind, own, (*seen, name))
    own_sources = entry.get("sources")
    sources = inherited.get("sources", {}) | dict.fromkeys(entry, "given in the scenario")
    if own_sources is None:
        return {**inherited, **entry, "sources": sources}
    if isinstance(own_sources, dict):
        return {**inherited, **entry, "sources": sources | own_sources}
    return {**inherited, **entry}
