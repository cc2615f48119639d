"""How many replicas of a pool are up: the `autoscale` of a fleet entry."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from simlora.scenario.field_types import Duration, Latency, PositiveFloat
from simlora.scenario.strict import Strict


class Autoscale(Strict):
    """The pool has between `min` replicas (0: it may go to sleep) and `replicas` of the fleet
    entry, and begins with `initial` (default: `min`).

    Wanted are as many as keep the unfinished requests of each at `target_requests`. More are
    started at once, ready after `startup_s`; fewer are kept only if for `down_after_s` no more were
    wanted. It is looked at every `interval_s`, and when a request finds no replica.
    """

    min: Annotated[int, Field(ge=0, le=10_000)] = 1
    initial: Annotated[int, Field(ge=0, le=10_000)] | None = None
    target_requests: PositiveFloat = 64.0
    interval_s: Duration = 5.0
    down_after_s: Latency = 120.0
    startup_s: Latency = 45.0

    @model_validator(mode="after")
    def _in_order(self) -> Autoscale:
        if self.initial is not None and self.initial < self.min:
            raise ValueError(f"initial ({self.initial}) must be at least min ({self.min})")
        return self
