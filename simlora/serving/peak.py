"""How much KV cache a batch will need at its worst."""

from __future__ import annotations

from collections.abc import Iterable

from simlora.serving.request import Request


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


def peak_of(request: Request, running: Iterable[Request], step_count: int) -> int:
    """The most KV tokens that the running requests and `request` will hold together.

    It stays the same until something ends: each step lengthens what sequences hold by what it
    shortens the rest.
    """
    return peak_tokens(left_and_held([request, *running], step_count))


def left_and_held(batch: Iterable[Request], step_count: int) -> list[tuple[int, int]]:
    """For each request of a batch, or about to join it: the tokens it will still get, and the KV
    tokens it holds (or will, once its prompt is computed)."""
    return [
        (request.finish_step - step_count, request.kv_offset + step_count)
        if request.finish_step >= 0
        else (
            request.output_tokens - request.emitted_tokens,
            request.prompt_tokens + request.emitted_tokens,
        )
        for request in batch
    ]
