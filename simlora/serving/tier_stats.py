"""What is counted of a replica's adapters."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TierStats:
    """Counts since the start."""

    lookups: int = 0
    found: list[int] = field(default_factory=lambda: [0] * 5)  # by SOURCE_*
    loads: int = 0  # into GPU memory
    evictions: int = 0  # from GPU memory
    loaded_bytes: int = 0
