"""What requests say, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from simlora.serving.request import Request

if TYPE_CHECKING:
    from simlora.live.embedded import Sampling

Tokens = NDArray[np.int32]


@dataclass(slots=True)
class Script:
    """The tokens of a request, prompt and answer. The first `known` are given, the rest the engine
    says; `said` is what it said, also where the answer was given. `sampling`: how it chooses, None
    for the likeliest."""

    tokens: Tokens
    known: int
    said: list[int]
    sampling: Sampling | None = None


class Scripts(Protocol):
    """Who knows what requests say."""

    def script(self, request: Request) -> Script:
        """The tokens of a request before it is served; asked for once."""


class GivenTokens:
    """The prompts of clients, by request, until they are asked for or forgotten."""

    def __init__(self) -> None:
        self._prompts: dict[int, tuple[Sequence[int], Sampling | None]] = {}

    def give(self, request: Request, prompt: Sequence[int], sampling: Sampling | None) -> None:
        """The tokens of a request's prompt, and how those of its answer are to be chosen."""
        self._prompts[request.index] = prompt, sampling

    def forget(self, request: Request) -> None:
        """The request has ended, perhaps before it was served."""
        self._prompts.pop(request.index, None)

    def script(self, request: Request) -> Script:
        """The tokens of a request before it is served."""
        prompt, sampling = self._prompts.pop(request.index)
        tokens = np.zeros(len(prompt) + request.output_tokens, dtype=np.int32)
        tokens[: len(prompt)] = prompt
        return Script(tokens, len(prompt), [], sampling)


class TokenSource:
    """Draws tokens of a vocabulary by a seed.

    A prefix hash gives the same `block_tokens` tokens wherever it occurs, so equal prefixes are
    equal tokens. Hashes may go on into the answer, which a later turn of the session then has in
    its prompt: there the answer is the hash's too, whatever the engine says, so that what is cached
    under a hash is always of the same tokens.
    """

    def __init__(self, vocabulary: int, seed: int, block_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._seed = seed
        self._block_tokens = block_tokens

    def script(self, request: Request) -> Script:
        """The tokens of a request before it is served."""
        prompt, total = request.prompt_tokens, request.prompt_tokens + request.output_tokens
        tokens = np.zeros(total, dtype=np.int32)
        end = 0
        for value in request.prefix_hashes or ():
            if end >= total:
                break
            block = self._draw(0, value, self._block_tokens)
            tokens[end : end + self._block_tokens] = block[: total - end]
            end = min(end + self._block_tokens, total)
        if end < prompt:
            # A copy for a version on trial, of negative index, asks the same.
            tokens[end:prompt] = self._draw(1, request.turn, prompt - end)
        return Script(tokens, max(end, prompt), [])

    def _draw(self, what: int, number: int, count: int) -> Tokens:
        sign = int(number < 0)
        random = np.random.default_rng([self._seed, what, sign, abs(number)])
        return random.integers(0, self._vocabulary, count, dtype=np.int32)
