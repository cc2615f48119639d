"""Answers in OpenAI's forms: whole, or as server-sent events with a chunk for every token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from simlora.serve.answer import Answer
from simlora.serve.bodies import Asked
from simlora.serve.problems import Problem

DONE = b"data: [DONE]\n\n"
_MARK = "\0"  # in no name


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def failure(problem: Problem) -> bytes:
    """The event that ends a stream in which tokens had been sent before."""
    return event(problem.body) + DONE


class Reply:
    """What is sent of an answer. `created_s` is seconds since the epoch."""

    def __init__(self, asked: Asked, answer: Answer, created_s: int) -> None:
        self._asked = asked
        self._answer = answer
        kind = "chat.completion" if asked.chat else "text_completion"
        # As OpenAI has it: the chunks of completions are called as the whole is.
        chunk = "chat.completion.chunk" if asked.chat else kind
        prefix = "chatcmpl" if asked.chat else "cmpl"
        self._head = {
            "id": f"{prefix}-{uuid4().hex}",  # tells nobody how many others have asked
            "object": chunk if asked.stream else kind,
            "created": created_s,
            "model": asked.model,
        }
        # All chunks but the last are alike up to their text, so the rest is written once.
        first, _, last = event(self._chunk(_MARK, None)).partition(json.dumps(_MARK)[1:-1].encode())
        self._before, self._after = first, last

    @property
    def _usage(self) -> dict[str, Any]:
        request, emitted = self._answer.request, self._answer.emitted
        return {
            "prompt_tokens": request.prompt_tokens,
            "completion_tokens": emitted,
            "total_tokens": request.prompt_tokens + emitted,
            "prompt_tokens_details": {"cached_tokens": request.cached_tokens},
        }

    def _chunk(self, text: str, reason: str | None) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0}
        if self._asked.chat:
            choice["delta"] = {"content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": reason}
        return self._head | {"choices": [choice]}

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        text = "".join(self._answer.pieces[: self._answer.emitted])
        choice: dict[str, Any] = {"index": 0}
        if self._asked.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": self._answer.reason}
        return json.dumps(self._head | {"choices": [choice], "usage": self._usage}).encode()

    def opening(self) -> bytes:
        """What comes before the first token."""
        if not self._asked.chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return event(self._head | {"choices": [choice]})

    def chunks(self, first: int, end: int) -> Iterator[bytes]:
        """The events of some tokens, by their places in the answer. That of the last token of an
        answer that is complete says why it ends."""
        answer = self._answer
        last = answer.emitted - 1 if answer.complete else -1
        for place in range(first, end):
            piece = answer.pieces[place]
            if place == last:
                yield event(self._chunk(piece, answer.reason))
            else:
                yield self._before + json.dumps(piece)[1:-1].encode() + self._after

    def closing(self) -> bytes:
        """What comes after the last token."""
        if not self._asked.usage:
            return DONE
        return event(self._head | {"choices": [], "usage": self._usage}) + DONE
