"""Scenarios from YAML files, with overrides, and back to YAML."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simlora.errors import UserError
from simlora.scenario import overrides as overriding
from simlora.scenario import yamltext
from simlora.scenario.catalog import is_config_path, model_names
from simlora.scenario.checks import check
from simlora.scenario.problems import FieldError, dotted, given
from simlora.scenario.problems import Path as FieldPath
from simlora.scenario.schema import Scenario, UserCatalog
from simlora.scenario.wording import explain_all

# Line of a field, for the order of findings, and what an error says before the field.
Locate = Callable[[FieldPath], tuple[int, str]]

# Where a scenario names other files; `*` stands for every entry of a list.
_FILE_FIELDS: tuple[FieldPath, ...] = (
    ("workload", "trace"),
    ("workload", "prompt_tokens", "empirical"),
    ("workload", "output_tokens", "empirical"),
    ("tenants", "*", "prompt_tokens", "empirical"),
    ("tenants", "*", "output_tokens", "empirical"),
)
_MODEL_FIELDS: tuple[FieldPath, ...] = (
    ("model",),
    ("model", "name"),
    ("fleet", "*", "model"),
    ("fleet", "*", "model", "name"),
    ("tenants", "*", "model"),
    ("tenants", "*", "rollout", "candidate", "model"),
)


def load_scenario(
    path: str | Path, overrides: Mapping[str, Any] | None = None, *, option: str = ""
) -> Scenario:
    """Read, check and return a scenario.

    Relative paths in the file start from the file's directory, those in `overrides` from the
    current one; both are absolute in the result. `option` is what an override's key is called in
    an error (the command line says `--set `). Raises UserError with file, line and field.
    """
    file = Path(path)
    data, lines = yamltext.parse(_read(file), str(file))
    if data is None:
        raise UserError(
            f"{file}: is empty: a scenario needs name, model, fleet, tenants and workload"
        )
    if not isinstance(data, dict):
        raise UserError(f"{file}:{lines[()]}: a scenario must be a mapping, not {given(data)}")
    _resolve_files(data, file.absolute().parent)

    def locate(field: FieldPath) -> tuple[int, str]:
        while field not in lines:
            field = field[:-1]
        return lines[field], f"{file}:{lines[field]}: "

    return _build(data, overrides or {}, locate, option)


def with_place(
    error: UserError, path: str | Path, overrides: Iterable[str] = (), option: str = "--set "
) -> UserError:
    """The same mistake with file and line, if its sentence begins with a field of the scenario,
    or with `option` if the field is one of the overrides'.

    For what shows only when the simulator is built: a policy's name, a model that does not fit.
    """
    field = str(error).partition(": ")[0]
    if field.partition(".")[0] not in Scenario.model_fields:
        return error
    if any(field == key or field.startswith(f"{key}.") for key in overrides):
        return UserError(f"{option}{error}")
    _, lines = yamltext.parse(_read(Path(path)), str(path))
    known = {dotted(place): line for place, line in lines.items()}
    while field not in known:
        field = field.rpartition(".")[0]
    return UserError(f"{path}:{known[field]}: {error}")


def override_scenario(scenario: Scenario, overrides: Mapping[str, Any]) -> Scenario:
    """The scenario with some fields changed; see `Scenario.with_overrides`."""
    return _build(scenario.model_dump(mode="json"), overrides, lambda _: (0, ""), "")


def parse_setting(setting: str) -> tuple[str, Any]:
    """Key and value of a `key=value` text; the value is YAML. Raises UserError."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set takes key=value, for example fleet.0.replicas=2, not {setting!r}")
    value, _ = yamltext.parse(text, f"--set {key.strip()}")
    return key.strip(), value


def dump_resolved(scenario: Scenario, extra_comment_header: str = "") -> str:
    """YAML with every default filled in, that loads back as an equal scenario.

    `extra_comment_header` may have several lines; each becomes a comment on top.
    """
    comments = "".join(f"# {line}".rstrip() + "\n" for line in extra_comment_header.splitlines())
    return comments + yamltext.dump(scenario.model_dump(mode="json"))


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a scenario file, for editors."""
    schema = Scenario.model_json_schema()
    for owner in (schema, schema["$defs"]["Pool"]):
        model = owner["properties"]["model"]
        owner["properties"]["model"] = {"anyOf": [{"type": "string"}, model]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "simlora scenario",
    }


def _build(
    data: dict[str, Any], overrides: Mapping[str, Any], locate: Locate, option: str
) -> Scenario:
    data = copy.deepcopy(data)
    written = overriding.apply(data, copy.deepcopy(dict(overrides)))
    _resolve_files(data, Path.cwd())

    def place(field: FieldPath) -> tuple[int, str]:
        for end in range(len(field), 0, -1):
            if field[:end] in written:
                return 0, option
        return locate(field)

    try:
        scenario = Scenario.model_validate(data)
        check(scenario)
    except ValidationError as error:
        findings = [(*place(field), field, problem) for field, problem in explain_all(error)]
        _, where, field, problem = min(findings, key=lambda finding: finding[0])
        raise UserError(f"{where}{dotted(field)}: {problem}") from None
    except FieldError as error:
        raise UserError(f"{place(error.field)[1]}{error}") from None
    return scenario


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(yamltext.MOST_BYTES + 1)
    except IsADirectoryError:
        raise UserError(f"{file}: is a directory, not a scenario file") from None
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{file}: cannot be read: {reason}") from None
    if len(raw) > yamltext.MOST_BYTES:
        raise UserError(f"{file}: is larger than {yamltext.MOST_BYTES // 2**20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{file}: is not UTF-8 text, so it is no scenario file") from None


def _resolve_files(data: dict[str, Any], base: Path) -> None:
    """Make relative file names in the data absolute, in place."""
    models = _own_models(data)
    for field in _FILE_FIELDS:
        _resolve_field(data, field, base, lambda _: True)
    _resolve_field(data, ("timing", "profile"), base, is_config_path)
    for field in _MODEL_FIELDS:
        _resolve_field(data, field, base, lambda name: is_config_path(name) and name not in models)


def _resolve_field(data: Any, field: FieldPath, base: Path, is_path: Callable[[str], bool]) -> None:
    """Make a field's text absolute, if it is a path."""
    first, *rest = field
    if first == "*":
        for entry in data if isinstance(data, list) else ():
            _resolve_field(entry, tuple(rest), base, is_path)
    elif not isinstance(data, dict):
        return
    elif rest:
        _resolve_field(data.get(first), tuple(rest), base, is_path)
    elif isinstance(data.get(first), str) and is_path(data[first]):
        data[first] = str(base / data[first])


def _own_models(data: dict[str, Any]) -> list[str]:
    catalog = data.get("catalog")
    models = catalog.get("models") if isinstance(catalog, dict) else None
    own = models if isinstance(models, dict) else {}
    return model_names(UserCatalog.model_construct(models=own))
