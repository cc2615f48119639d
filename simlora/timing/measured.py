"""Timing by a profile: measured figures, and how far a run goes beyond what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from simlora.serving.batch_shape import BatchShape
from simlora.timing.form import StepTiming
from simlora.timing.parameters import LoadParameters, StepParameters
from simlora.timing.profile import Feature, Profile


class MeasuredTiming(StepTiming):
    """The timing form with a profile's figures, `parameters` and `load` carried over to other
    hardware where `scaled_from` says so. `departs` names what the scenario fixes outside of the
    measurements; what varies from step to step is noted as steps are timed.

    Of that the largest of each feature is kept, and has to lie within the measured range. A step
    smaller than all measured ones is none to doubt: it lies between them and an empty one, and no
    figure is negative."""

    def __init__(
        self,
        profile: Profile,
        parameters: StepParameters,
        load: LoadParameters | None,
        scaled_from: str | None,
        slots: int,
        padded_parameters: int | None,
        departs: list[str],
    ) -> None:
        super().__init__(parameters, slots, padded_parameters)
        self.load = load
        self.profile_name = profile.name
        self.request_overhead_s = profile.request_overhead_s
        self.scaled_from = scaled_from
        self.error = profile.error
        self._departs = departs
        self._holds_for = profile.holds_for
        # The largest of each feature so far.
        self._distinct_adapters = 0
        self._running = 0
        self._tokens = 0
        self._attended_tokens = 0
        self._passed_over = 0

    def step(self, shape: BatchShape) -> float:
        running = shape.prefill_seqs + shape.decode_seqs
        if running > self._running:
            self._running = running
        tokens = shape.prefill_tokens + shape.decode_seqs
        if tokens > self._tokens:
            self._tokens = tokens
        if shape.distinct_adapters > self._distinct_adapters:
            self._distinct_adapters = shape.distinct_adapters
        if shape.decode_attended_tokens > self._attended_tokens:
            self._attended_tokens = shape.decode_attended_tokens
        if shape.passed_over > self._passed_over:
            self._passed_over = shape.passed_over
        return super().step(shape)

    def note_run(self, shape: BatchShape, steps: int) -> None:
        last = shape.decode_attended_tokens + shape.decode_seqs * (steps - 1)
        if last > self._attended_tokens:
            self._attended_tokens = last

    def extrapolates(self) -> list[str]:
        if not self._tokens:  # no step so far
            return self._departs
        seen: dict[Feature, float] = {
            "distinct_adapters": self._distinct_adapters,
            "running": self._running,
            "tokens": self._tokens,
            "attended_tokens": self._attended_tokens,
            "passed_over": self._passed_over,
        }
        return self._departs + outside(seen, self._holds_for)

    def describe(self) -> dict[str, object]:
        return {
            **super().describe(),
            "load": self.load.model_dump() if self.load is not None else None,
            "request_overhead_s": self.request_overhead_s,
        }


def outside(
    seen: Mapping[Feature, float], holds_for: Mapping[Feature, tuple[float, float]]
) -> list[str]:
    """Names of the features whose value lies outside its range; one without a range is free."""
    return [
        feature
        for feature, value in seen.items()
        if feature in holds_for and not holds_for[feature][0] <= value <= holds_for[feature][1]
    ]
