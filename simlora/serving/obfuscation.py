"""Timing obfuscation: answers held back at random, so that a fast one tells less."""

from __future__ import annotations

from hashlib import blake2b


class TimingNoise:
    """Seconds to hold each request back, uniform over 0 to `most_s`.

    They follow from the seed and the request's index alone, whatever happens around it, so that
    runs that differ elsewhere meet the same noise.
    """

    def __init__(self, seed: int, most_s: float) -> None:
        self._salt = f"timing noise/{seed}"
        self._scale_s = most_s / 2**64

    def wait_s(self, request_index: int) -> float:
        """How long the request of that index waits, however often it is asked."""
        digest = blake2b(f"{self._salt}/{request_index}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") * self._scale_s
