"""Fields of a scenario and the values that they are to take, as the command line gives them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from simlora.errors import UserError
from simlora.scenario import yamltext


def parse_values(text: str, option: str) -> tuple[str, list[Any]]:
    """Key and values of a `key=a,b,c` text; the values are YAML, as those of `run --set` are.
    Raises UserError, which begins with `option`.

    >>> parse_values("workload.output_tokens={fixed: 64},sharegpt", "--vary")
    ('workload.output_tokens', [{'fixed': 64}, 'sharegpt'])
    """
    key, equals, values = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"{option} takes key=a,b,c, for example fleet.0.replicas=1,2, not {text!r}")
    parsed, _ = yamltext.parse(f"[{values}]", f"{option} {key}")
    if not parsed:
        raise UserError(f"{option} {key}: has no value; separate several by commas")
    return key, parsed


def refuse_twice(keys: Sequence[str], option: str) -> None:
    """Raises UserError if a field is given values twice."""
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise UserError(f"{option} {key}: is given twice; put all its values into one")


def refuse_overlaps(keys: Sequence[str], option: str) -> None:
    """Raises UserError if one of the fields lies within another one."""
    for first, second in pairwise(sorted(keys, key=lambda key: key.split("."))):
        if second.startswith(f"{first}."):
            raise UserError(f"{option} {second}: cannot be varied beside {first}, they overlap")
