"""Rank and target modules of an adapter, as a scenario gives them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from simlora.scenario.strict import Strict

TargetSet = Literal["all-linear", "attention", "qv"]
TargetModule = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _set_or_list(value: Any) -> str:
    return "<list>" if isinstance(value, (list, tuple)) else "<name>"


Targets = Annotated[
    Annotated[TargetSet, Tag("<name>")]
    | Annotated[list[TargetModule], Field(min_length=1), Tag("<list>")],
    Discriminator(_set_or_list),
]


class AdapterShape(Strict):
    """Rank and target modules of an adapter. `targets` is a set's name or a list of modules."""

    rank: Annotated[int, Field(gt=0, le=1024)] = 16
    targets: Targets = "all-linear"
