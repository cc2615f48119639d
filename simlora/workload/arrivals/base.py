"""The protocol of an arrival process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from simlora.workload.blocks import Floats
from simlora.workload.randomness import Purpose


@runtime_checkable
class ArrivalProcess(Protocol):
    """When requests arrive."""

    def times(
        self, rate_rps: float, stream: Callable[[Purpose], np.random.Generator]
    ) -> Iterator[Floats]:
        """Yield arrival times in seconds, without end: ascending arrays of any length, each going
        on where the last one stopped. `rate_rps` is the long-run mean rate, `stream` gives the
        random stream of a purpose (ARRIVALS, and MODULATION for a rate that varies).
        """
        ...
