"""The base of every model a user fills in: closed, immutable, no guessing of types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Discriminator, model_validator
from pydantic_core import PydanticCustomError

from simlora.scenario.problems import did_you_mean


class Strict(BaseModel):
    """Unknown fields are errors with a hint, `"12"` is no number, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_field(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name in data:
                if name not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_field",
                        "unknown field; {hint}",
                        {"field": name, "hint": did_you_mean(str(name), cls.model_fields)},
                    )
        return data


class Forms(Discriminator):
    """A discriminator that may be part of an optional field: its type has to be hashable."""

    __hash__ = object.__hash__


def choice(names: tuple[str, ...], **kinds: type[Strict]) -> Discriminator:
    """Tells apart the forms of a field that is a name or a mapping with one telling key.

    The tags are `<name>` for a name and `<key>` for a mapping; the angle brackets keep them apart
    from the fields of a path.
    """

    def tag(value: Any) -> str | None:
        if isinstance(value, str) and names:
            return "<name>"
        for key, kind in kinds.items():
            if isinstance(value, kind) or (isinstance(value, dict) and key in value):
                return f"<{key}>"
        return None

    forms = ", ".join((*names, *(f"{{{key}: …}}" for key in kinds)))
    return Forms(
        tag,
        custom_error_type="no_such_form",
        custom_error_message="must be one of {forms}",
        custom_error_context={"forms": forms},
    )
