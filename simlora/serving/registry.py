"""Replaceable parts by name, or by the dotted path of a user's own class."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from simlora.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps the names that a scenario may use for one kind of part to what makes that part."""

    def __init__(self, field: str, protocol: type[Any], parts: dict[str, Callable[..., T]]) -> None:
        self.field = field  # the scenario field, for messages
        self._protocol = protocol
        self._parts = parts

    def names(self) -> list[str]:
        """The built-in names, sorted."""
        return sorted(self._parts)

    def make(self, name: str, *arguments: Any, field: str = "") -> T:
        """The part called `name`, or the one at the dotted path `package.module:Class`, made with
        `arguments`. `field` is named in messages where the registry serves several.

        Raises UserError if there is none, or if the user's own is not such a part.
        """
        field = field or self.field
        if name in self._parts:
            return self._parts[name](*arguments)
        if ":" not in name:
            near = difflib.get_close_matches(name, self._parts, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(
                f"{field}: unknown name {name!r}; {hint}allowed are {', '.join(self.names())} "
                "or a dotted path package.module:Class"
            )
        # Whatever a user's module or constructor raises is theirs to mend, so it is told, not shown
        # as a traceback of ours.
        try:
            part: Any = _import(name)(*arguments)
        except Exception as error:
            raise UserError(
                f"{field}: cannot make {name!r}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(part, self._protocol):
            missing = [
                method
                for method in vars(self._protocol)
                if not method.startswith("_") and not hasattr(part, method)
            ]
            lacks = f" (it lacks {', '.join(missing)})" if missing else ""
            raise UserError(f"{field}: {name!r} makes no {self._protocol.__name__}{lacks}")
        return cast("T", part)


def _import(path: str) -> Callable[..., Any]:
    module_name, _, attribute = path.partition(":")
    part = getattr(importlib.import_module(module_name), attribute)
    if not callable(part):
        raise TypeError(f"a {type(part).__name__} is not a class")
    return part  # type: ignore[no-any-return]
