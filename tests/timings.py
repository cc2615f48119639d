"""Timing models for the tests; scenarios name them by dotted path."""

from __future__ import annotations

import signal
from typing import Any

from simlora.serving.batch_shape import BatchShape
from simlora.timing import Roofline, TimingModel
from simlora.timing.parameters import LoadParameters


class ConstantStep(TimingModel):
    """Every step takes 100 ms."""

    step_s = 0.1

    def __init__(self, *_: Any) -> None:
        pass

    def step(self, shape: BatchShape) -> float:
        return self.step_s

    def decode_growth_s(self, shape: BatchShape) -> float:
        return 0.0


class CtrlC(ConstantStep):
    """The user presses Ctrl-C during the tenth step."""

    def __init__(self, *_: Any) -> None:
        self._steps = 0

    def step(self, shape: BatchShape) -> float:
        self._steps += 1
        if self._steps == 10:
            signal.raise_signal(signal.SIGINT)
        return self.step_s


class Backwards(ConstantStep):
    """Steps end before they begin."""

    step_s = -0.1


class ShortStep(ConstantStep):
    """Every step takes 2 ms."""

    step_s = 0.002


class Outside(ConstantStep):
    """A request spends 30 ms outside the engine; a load takes 50 ms whatever its size."""

    request_overhead_s = 0.03
    load = LoadParameters(latency_s=0.05, bytes_per_s=1e18)


class PromptMillisecond(ConstantStep):
    """A step takes a millisecond for each prompt token, and decoding takes 100 ms a step."""

    def step(self, shape: BatchShape) -> float:
        return shape.prefill_tokens * 1e-3 or self.step_s


class Witness(Roofline):
    """The roofline, noting the largest of the shapes it is asked about (see `watch`)."""

    most: BatchShape = BatchShape()

    def step(self, shape: BatchShape) -> float:
        for name in BatchShape.__slots__:
            setattr(self.most, name, max(getattr(self.most, name), getattr(shape, name)))
        return super().step(shape)

    @classmethod
    def watch(cls) -> BatchShape:
        """Start anew; the shape returned will hold the maxima."""
        cls.most = BatchShape()
        return cls.most
