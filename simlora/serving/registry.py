"""Replaceable parts by name, or by the dotted path of a user's own class."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from simlora.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps the names that a scenario may use for one kind of part to what makes that part."""

    def __init__(self, field: str, parts: dict[str, Callable[..., T]]) -> None:
        self.field = field  # the scenario field, for messages
        self._parts = parts

    def names(self) -> list[str]:
        """The built-in names, sorted."""
        return sorted(self._parts)

    def find(self, name: str) -> Callable[..., T]:
        """The factory called `name`, or at the dotted path `package.module:Class`.

        Raises UserError if there is none.
        """
        if name in self._parts:
            return self._parts[name]
        if ":" in name:
            return self._import(name)
        near = difflib.get_close_matches(name, self._parts, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"{self.field}: unknown name {name!r}; {hint}allowed are {', '.join(self.names())} "
            "or a dotted path package.module:Class"
        )

    def _import(self, path: str) -> Callable[..., Any]:
        module_name, _, attribute = path.partition(":")
        try:
            part = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"{self.field}: cannot load {path!r}: {error}") from None
        if not callable(part):
            raise UserError(f"{self.field}: {path!r} is a {type(part).__name__}, not a class")
        return part  # type: ignore[no-any-return]
