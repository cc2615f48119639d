"""Changing single fields of a scenario's data by dotted keys: `fleet.0.replicas`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simlora.errors import UserError
from simlora.scenario.problems import Path, dotted, given

# Fields that take a name or a mapping with one telling key. Setting a field below another key
# than the present one replaces the whole. `*` stands for any entry of a list.
_FORMS: set[Path] = {
    ("workload", "popularity"),
    ("workload", "arrivals"),
    ("workload", "prompt_tokens"),
    ("workload", "output_tokens"),
    ("tenants", "*", "prompt_tokens"),
    ("tenants", "*", "output_tokens"),
}
_MODELS: set[Path] = {("model",), ("fleet", "*", "model")}  # a name stands for {name: …}


def apply(data: dict[str, Any], overrides: Mapping[str, Any]) -> set[Path]:
    """Write the overrides into `data` and return the paths that were written, made blocks too.

    Blocks that `data` leaves out are made; whether a field exists is for the schema to say.
    Raises UserError if a key leads through a list or a plain value that it does not fit.
    """
    written: set[Path] = set()
    for key, value in overrides.items():
        if not isinstance(key, str):
            raise UserError(f"an override's key is a text like fleet.0.replicas, not {given(key)}")
        path: Path = ()
        spot: Any = data
        *parents, last = key.split(".")
        for name in parents:
            made = isinstance(spot, dict) and name not in spot
            part = _part(spot, name, key, path)
            path = (*path, part)
            if made:
                written.add(path)
            if not isinstance(spot[part], (dict, list)) or _is_other_form(spot, path, key):
                spot[part] = _block(spot[part], path, key)
            spot = spot[part]
        part = _part(spot, last, key, path)
        spot[part] = value
        written.add((*path, part))
    return written


def _part(spot: Any, name: str, key: str, path: Path) -> str | int:
    """The key or index of `name` in `spot`; a missing key is made."""
    if not name:
        raise UserError(f'the key "{key}" has an empty part, write it like fleet.0.replicas')
    if isinstance(spot, dict):
        spot.setdefault(name, None)
        return name
    if not name.isdecimal() or int(name) >= len(spot):
        entries = "1 entry" if len(spot) == 1 else f"{len(spot)} entries"
        if not name.isdecimal() and len(spot):
            first = dotted((*path, 0))
            raise UserError(f"{key}: {dotted(path)} is a list, its first entry is {first}")
        raise UserError(
            f"{key}: {dotted(path)} has {entries}, numbered from 0, so there is no {name}"
        )
    return int(name)


def _is_other_form(spot: Any, path: Path, key: str) -> bool:
    return _any_entry(path) in _FORMS and key.split(".")[len(path)] not in spot[path[-1]]


def _any_entry(path: Path) -> Path:
    return tuple("*" if isinstance(part, int) else part for part in path)


def _block(present: Any, path: Path, key: str) -> dict[str, Any]:
    """What stands in the way of a deeper key, as a mapping."""
    if _any_entry(path) in _MODELS and isinstance(present, str):
        return {"name": present}
    if present is None or _any_entry(path) in _FORMS:
        return {}
    raise UserError(f"{key}: {dotted(path)} is {given(present)} and has no fields of its own")
