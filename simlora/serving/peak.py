"""How much KV cache a batch will need at its worst."""

from __future__ import annotations

from collections.abc import Iterable


def peak_tokens(sequences: Iterable[tuple[int, int]]) -> int:
    """The most KV tokens that sequences will hold together until all have ended.

    Each sequence is (tokens it will still get, tokens it holds); all get one a step. The peak comes
    just before one of them ends: with those that last at least as long, each having grown by what
    that one had left.
    """
    held_tokens = peak = 0
    for count, (left, held) in enumerate(sorted(sequences, reverse=True), start=1):
        held_tokens += held
        peak = max(peak, left * count + held_tokens)
    return peak
