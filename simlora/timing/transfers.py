"""Moving bytes."""

from __future__ import annotations


def transfer_s(latency_s: float, nbytes: float, bytes_per_s: float, finish_s: float = 0.0) -> float:
    """Seconds to move `nbytes` over an idle link, after `latency_s`, and to make something of them
    for `finish_s`."""
    return latency_s + nbytes / bytes_per_s + finish_s
