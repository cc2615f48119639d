"""Pydantic's findings in the words of a user: one clause, what is allowed, what was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simlora.scenario.problems import Path, did_you_mean, given, one_of


def explain(error: ValidationError) -> tuple[Path, str]:
    """Field and problem of the first finding."""
    return explain_all(error)[0]


def explain_all(error: ValidationError) -> list[tuple[Path, str]]:
    """Field and problem of each finding, in the order of the fields."""
    return [(_path(details), _problem(details)) for details in error.errors(include_url=False)]


def _path(details: ErrorDetails) -> Path:
    """The field's path, without the tags of unions and the marker of mapping keys."""
    parts = [
        part
        for part in details["loc"]
        if not (isinstance(part, str) and (part.startswith("<") or part == "[key]"))
    ]
    if details["type"] == "unknown_field":
        parts.append(details["ctx"]["field"])
    return tuple(parts)


def _problem(details: ErrorDetails) -> str:
    word = _WORDS.get(details["type"])
    if word is None:
        return details["msg"].removeprefix("Value error, ")
    return word(details["input"], details.get("ctx", {}))


def _whole_number(value: Any, _: dict[str, Any]) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"must be a whole number: write {int(value)}, not {value}"
    return f"must be a whole number, not {_typed(value)}"


def _literal(value: Any, context: dict[str, Any]) -> str:
    # pydantic gives the names as one text: 'a', 'b' or 'c'
    names = [name.strip(" '") for name in context["expected"].replace(" or ", ", ").split(", ")]
    if isinstance(value, str):
        return f"{given(value)} is not known: {did_you_mean(value, names)}"
    return f"must be {one_of(names)}, not {given(value)}"


def _form(value: Any, context: dict[str, Any]) -> str:
    wrong = "{" + ", ".join(map(str, value)) + "}" if isinstance(value, dict) else given(value)
    return f"must be one of {context['forms']}, not {wrong}"


def _typed(value: Any) -> str:
    return f"the text {given(value)}" if isinstance(value, str) else given(value)


def _must_be(what: str) -> Callable[[Any, dict[str, Any]], str]:
    return lambda value, _: f"must be {what}, not {_typed(value)}"


def _bounded(words: str, key: str) -> Callable[[Any, dict[str, Any]], str]:
    return lambda value, context: f"must be {words} {context[key]:.15g}, not {given(value)}"


_NAME = "made of letters, digits, dots, dashes and underscores, and begin with a letter or digit"
_MAPPING = _must_be("a mapping of fields")
_WORDS: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "missing": lambda _, __: "is missing, and has no default",
    "int_type": _whole_number,
    "int_from_float": _whole_number,
    "int_parsing_size": lambda _, __: "is too large a number",
    "float_type": _must_be("a number"),
    "finite_number": _must_be("a finite number"),
    "bool_type": _must_be("true or false"),
    "string_type": lambda value, _: f"must be text, not {given(value)}",
    "list_type": _must_be("a list"),
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "no_such_form": _form,
    "literal_error": _literal,
    "greater_than": _bounded("greater than", "gt"),
    "greater_than_equal": _bounded("at least", "ge"),
    "less_than": _bounded("less than", "lt"),
    "less_than_equal": _bounded("at most", "le"),
    "string_pattern_mismatch": lambda value, _: f"must be {_NAME}, not {given(value)}",
    "string_too_long": lambda value, context: (
        f"must have at most {context['max_length']} characters, not {len(value)}"
    ),
    "too_short": lambda _, context: f"needs at least {context['min_length']} entry",
}
