"""What of a prompt was said by whom: the turns of a chat."""

from __future__ import annotations

from typing import NamedTuple

from simlora.serving.request import Request

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


class Turn(NamedTuple):
    """What `role` said ends before the token `end` of the prompt."""

    role: str
    end: int


class _Said(NamedTuple):
    """The last request of a session: its turns, all tokens of prompt and answer, and how many
    blocks of these have a hash, with the last one's."""

    turns: list[Turn]
    tokens: int
    blocks: int
    last: int | None


class Conversations:
    """Cuts the prompts of sessions into turns; asked for each request once, in order of arrival.

    A scenario tells how long prompts are and what they share, not who said what. Whole blocks that
    a tenant's prompts share are the system's, and what a session's prompt has beyond the request
    before and its answer is the user's. A session that had begun before the run says its history
    in its first message, and one that starts over has none. Requests without a session are one
    message.
    """

    def __init__(self, block_tokens: int) -> None:
        self._block_tokens = block_tokens
        self._said: dict[int, _Said] = {}

    def turns(self, request: Request) -> list[Turn]:
        """The turns of a prompt. The last is the user's, and ends where the prompt does."""
        prompt, hashes = request.prompt_tokens, request.prefix_hashes
        if request.session < 0 or hashes is None:
            return [Turn(USER, prompt)]
        before = self._said.get(request.session)
        if before is not None and _goes_on(before, prompt, hashes):
            turns = [*before.turns, Turn(ASSISTANT, before.tokens)]
        else:
            # Hashes of what a tenant's prompts share are negative.
            shared = next((n for n, value in enumerate(hashes) if value >= 0), len(hashes))
            system = shared * self._block_tokens
            turns = [Turn(SYSTEM, system)] if 0 < system < prompt else []
        turns.append(Turn(USER, prompt))
        last = hashes[-1] if hashes else None
        tokens = prompt + request.output_tokens
        self._said[request.session] = _Said(turns, tokens, len(hashes), last)
        return turns


def _goes_on(before: _Said, prompt: int, hashes: list[int]) -> bool:
    """Whether a prompt begins with the request before and its answer."""
    if before.tokens >= prompt or before.blocks > len(hashes):
        return False
    return not before.blocks or hashes[before.blocks - 1] == before.last
