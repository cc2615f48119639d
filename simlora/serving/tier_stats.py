"""What is counted of a replica's adapters."""

from __future__ import annotations

from dataclasses import dataclass, field

from simlora.serving.loading import TERMS


@dataclass(slots=True)
class TierStats:
    """Counts since the start."""

    lookups: int = 0
    found: list[int] = field(default_factory=lambda: [0] * 5)  # by SOURCE_*
    loads: int = 0  # into GPU memory
    evictions: int = 0  # from GPU memory
    loaded_bytes: int = 0
    terms_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TERMS, 0.0))
    transfers_failed: int = 0  # tried again or not
    loads_given_up: int = 0
    prefetches: int = 0  # loads begun ahead of any request
    prefetches_used: int = 0  # a request came while they were here or on their way
    prefetches_wasted: int = 0  # evicted, or given up, before anybody asked
