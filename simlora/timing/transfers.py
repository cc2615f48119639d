"""Moving bytes."""

from __future__ import annotations


def transfer_s(latency_s: float, nbytes: float, bytes_per_s: float) -> float:
    """Seconds to move `nbytes` over an idle link, after a fixed latency."""
    return latency_s + nbytes / bytes_per_s
