"""One independent random stream a purpose, all from the scenario's seed.

Because every purpose draws from its own stream, changing one part of a workload (the lengths, say)
leaves every other part as it was: runs stay comparable on common random numbers.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of a seed's meaning: never renumber."""

    ARRIVALS = 1
    MODULATION = 2
    RANKING = 3
    TARGETS = 4
    PROMPT_TOKENS = 5
    OUTPUT_TOKENS = 6
    BURSTS = 7
    TURNS = 8
    THINK_TIMES = 9
    IMPORT_TENANTS = 10
    IMPORT_ARRIVALS = 11
    IMPORT_LENGTHS = 12
    PROBES = 13


def stream(seed: int, purpose: Purpose, *more: int) -> np.random.Generator:
    """Return the generator of `purpose` (and further keys, such as a client's number)."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(purpose), *more]))
