"""The protocol of a timing model, and the closed form over a run of decode steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

from simlora.serving.batch_shape import BatchShape
from simlora.timing.parameters import LoadParameters


class TimingModel(ABC):
    """Durations of engine steps, in seconds.

    A step's duration may depend on `decode_attended_tokens` linearly only, as long as the other
    sizes stay: over a run of decode steps that sum grows by `decode_seqs` a step, so durations grow
    by the constant `decode_growth_s` and their sum has a closed form.
    """

    # Copies of adapters into GPU memory, if other than what catalog and scenario say.
    load: LoadParameters | None = None
    # What a request spends outside the engine, before the engine sees it.
    request_overhead_s: float = 0.0
    # The profile that the figures are from, if any.
    profile_name: str | None = None
    # What the figures were measured on, if that is other hardware or another model.
    scaled_from: str | None = None
    # Relative errors against measurements, by name.
    error: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def step(self, shape: BatchShape) -> float:
        """Seconds that a step of this shape takes."""

    @abstractmethod
    def decode_growth_s(self, shape: BatchShape) -> float:
        """Seconds by which each step of a decode run takes longer than the one before."""

    def decode_run(self, shape: BatchShape, steps: int) -> float:
        """Seconds that `steps` decode steps take that begin with this shape: the sum of their
        `step`, in closed form."""
        return run_s(self.step(shape), self.decode_growth_s(shape), steps)

    def note_run(self, shape: BatchShape, steps: int) -> None:  # noqa: B027
        """`steps` decode steps have been done, of which the first had this shape and `step` was
        asked for it alone. For a model that keeps count of what it has timed."""

    def describe(self) -> dict[str, object]:
        """The figures that determine this model, for a result's provenance."""
        return {"class": f"{type(self).__module__}:{type(self).__qualname__}"}

    def extrapolates(self) -> list[str]:
        """Features that left the range this model is known to hold for, in the steps so far."""
        return []


def run_s(first_s: float, growth_s: float, steps: int) -> float:
    """Seconds of a decode run whose first step takes `first_s` and each further one `growth_s`
    more."""
    return steps * first_s + growth_s * (steps * (steps - 1) / 2)


def steps_until(elapsed_s: float, first_s: float, growth_s: float) -> int:
    """The least number of steps of a decode run (at least 1) that last `elapsed_s` or longer.

    Solves run_s(first_s, growth_s, n) >= elapsed_s for n.
    """
    # The usual root of the quadratic, turned so that it holds for a growth of 0 and loses no digits
    # to a growth much smaller than the step.
    base_s = first_s - growth_s / 2
    steps = math.ceil(
        2 * elapsed_s / (base_s + math.sqrt(base_s * base_s + 2 * growth_s * elapsed_s))
    )
    # The root is rounded; the definition decides.
    while run_s(first_s, growth_s, steps) < elapsed_s:
        steps += 1
    while steps > 1 and run_s(first_s, growth_s, steps - 1) >= elapsed_s:
        steps -= 1
    return max(1, steps)
