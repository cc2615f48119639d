"""What the engine steps of one replica took, kept so that it costs a few appends per event."""

from __future__ import annotations

import numpy as np

from simlora.results.arrays import Floats
from simlora.results.batch_time import BatchTime
from simlora.serving.phases import WEIGHT


class StepLog:
    """The steps of one replica, for the distribution of inter-token latency (ITL).

    The driver appends to the lists as it goes; index `i` is one engine event of `steps[i]` alike
    decode steps (0 or more) of `step_s[i]` seconds each. A request of a tier that decodes from
    event `i` on appends `len(step_s) == i` to `decode_starts[tier]`, and `len(step_s)` to
    `decode_ends[tier]` when it stops: it took part in the events from its start up to, not
    including, its end. Every token made by a step is one sample of ITL. A gap between two tokens
    that a preemption made goes to `gaps` as `(tier, seconds)`. Requests that arrived in the warm-up
    are left out of all of it.

    `weights`, `uses` and `loads` are of all requests;
    `batch_time` is what they come to.
    """

    __slots__ = (
        "_decoding",
        "batch_time",
        "decode_ends",
        "decode_starts",
        "drained",
        "gaps",
        "loads",
        "step_s",
        "steps",
        "uses",
        "weights",
    )

    def __init__(self, tiers: int) -> None:
        self.step_s: list[float] = []
        self.steps: list[int] = []
        self.decode_starts: list[list[int]] = [[] for _ in range(tiers)]
        self.decode_ends: list[list[int]] = [[] for _ in range(tiers)]
        self.gaps: list[tuple[int, float]] = []
        self.weights = bytearray()
        self.drained = 0
        self.uses = bytearray()
        self.loads: list[tuple[int, int, float]] = []
        self.batch_time = BatchTime()
        self._decoding = [0] * tiers  # requests that decode on from the last drain

    def drain(self) -> list[tuple[Floats, Floats]]:
        """Empty the lists; return (seconds, number of tokens) of the steps, for each tier.

        Requests still decoding are carried over, and so are starts and ends at the event to come.
        The lists are emptied in place, so that a driver may hold on to them.
        """
        count = len(self.step_s)
        step_s = np.array(self.step_s, dtype=np.float64)
        steps = np.array(self.steps, dtype=np.float64)
        self.step_s.clear()
        self.steps.clear()
        drained = []
        for tier, (starts, ends) in enumerate(
            zip(self.decode_starts, self.decode_ends, strict=True)
        ):
            change = np.bincount(np.array(starts, dtype=np.int64), minlength=count + 1)
            change = change - np.bincount(np.array(ends, dtype=np.int64), minlength=count + 1)
            change[0] += self._decoding[tier]
            decoding = np.cumsum(change)
            self._decoding[tier] = int(decoding[-1])  # those to come start at once
            starts.clear()
            ends.clear()
            tokens = decoding[:count] * steps
            made = tokens > 0
            drained.append((step_s[made], tokens[made]))
        for tier, (values, weights) in enumerate(drained):
            waits = [seconds for of_tier, seconds in self.gaps if of_tier == tier]
            if waits:
                drained[tier] = (
                    np.concatenate([values, np.array(waits)]),
                    np.concatenate([weights, np.ones(len(waits))]),
                )
        self.gaps.clear()
        # Copies: a profiler that looks at frames would hold on to views of what is cleared.
        self.batch_time.add(bytes(self.weights), bytes(self.uses), self.loads)
        self.drained += len(self.weights) // WEIGHT.size
        self.weights.clear()
        self.uses.clear()
        self.loads.clear()
        return drained
