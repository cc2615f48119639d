"""One request to an OpenAI-compatible server, and what came back when."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from simlora.live.openai_events import Event, Events

_CONNECTING = "connection"  # reasons of failures that have no status
_BROKEN = "broken_off"
_SILENT = "timeout"
_WHOLE = "not_streamed"
_UNEXPLAINED = "error"
_GIVEN_UP = ("abort", "error")  # why an answer has ended, that is none

_DONE = b"[DONE]"
_LINGER_S = 1.0  # for a server to end its stream after it has said that it is done
_MOST = 2**31 - 1  # a count of tokens
_LONGEST = 60  # characters of a reason

Heard = Callable[[bool], None]  # called at each token, and with True when no more are to come


@dataclass(slots=True)
class Reply:
    """Readings of `time.perf_counter` at each chunk with tokens, and the server's counts (-1: not
    told). `reason` says why there is no whole answer; then `status` is that of the answer, or 0."""

    token_s: list[float] = field(default_factory=list)
    prompt_tokens: int = -1
    completion_tokens: int = -1
    cached_tokens: int = -1  # of the prompt, in the server's prefix cache
    status: int = 0
    reason: str = ""
    retry_after_s: float = -1.0

    @property
    def tokens(self) -> int:
        """Tokens of the answer so far: as the server counts them, or else the chunks."""
        return max(self.completion_tokens, len(self.token_s))


async def ask(
    client: httpx.AsyncClient,
    path: str,
    body: dict[str, Any],
    reply: Reply,
    silence_s: float | None = None,
) -> None:
    """POST to /v1/`path`, streamed. `reply` grows as the answer does; what goes wrong is noted
    there, and so is that no token came for `silence_s`."""
    try:
        async with asyncio.timeout(silence_s) as patience:

            def heard(over: bool) -> None:
                if silence_s is not None:
                    now_s = asyncio.get_running_loop().time()
                    patience.reschedule(None if over else now_s + silence_s)

            async with client.stream("POST", path, json=body) as response:
                reply.status = response.status_code
                if response.status_code != 200:
                    _refused(response, await response.aread(), reply)
                elif "json" in response.headers.get("content-type", ""):
                    reply.reason = _WHOLE
                else:
                    await _read(response.aiter_bytes(), reply, heard)
    except TimeoutError:
        reply.reason = _SILENT
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
        reply.reason = _CONNECTING
    # A value that is nested too deeply is no chunk either.
    except (httpx.HTTPError, ValueError, RecursionError):
        reply.reason = _BROKEN


async def _read(parts: AsyncIterator[bytes], reply: Reply, heard: Heard) -> None:
    """Until the server is done, or has told of an error. Raises ValueError for what is no chunk."""
    events = Events()
    async for part in parts:
        now = time.perf_counter()
        before = len(reply.token_s)
        for event in events.feed(part):
            if _take(event, now, reply):
                heard(True)
                await _to_the_end(parts)
                return
        if len(reply.token_s) > before:
            heard(False)
    now = time.perf_counter()
    if not any(_take(event, now, reply) for event in events.end()):
        reply.reason = _BROKEN


async def _to_the_end(parts: AsyncIterator[bytes]) -> None:
    """A connection whose stream has been read to its end can be used again; no longer is waited for
    that than it is worth, and it changes nothing about the answer."""
    try:
        async with asyncio.timeout(_LINGER_S):
            async for _ in parts:
                pass
    except (TimeoutError, httpx.HTTPError):
        return


def _take(event: Event, now: float, reply: Reply) -> bool:
    """Whether nothing is to come any more. Raises ValueError for what is no chunk."""
    if event.data.strip() == _DONE:
        return True
    chunk = json.loads(event.data)
    if not isinstance(chunk, dict):
        raise ValueError("no object")
    # vLLM and SGLang have told of errors in either of two forms, TGI and LoRAX in a third.
    if chunk.get("error") or chunk.get("object") == "error" or event.kind == b"error":
        reply.reason = _error_in(chunk)
        return True
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        reply.prompt_tokens = _count(usage, "prompt_tokens")
        reply.completion_tokens = _count(usage, "completion_tokens")
        reply.cached_tokens = _count(usage.get("prompt_tokens_details"), "cached_tokens")
    choices = chunk.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        if _has_token(choices[0], first=not reply.token_s):
            reply.token_s.append(now)
        if choices[0].get("finish_reason") in _GIVEN_UP:
            reply.reason = str(choices[0]["finish_reason"])
            return True
    return False


def _has_token(choice: dict[str, Any], first: bool) -> bool:
    """Whether a choice brings tokens. An empty text does too, of which nothing can be shown yet;
    the one that only says why the answer has ended does not, nor the one with which a chat begins,
    that says who speaks."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        text, opening = choice.get("text"), False
    else:
        # What a model thinks, and what tools it calls, is made of tokens like any other.
        others = ("reasoning_content", "reasoning", "tool_calls")
        if any(delta.get(name) for name in others):
            return True
        text, opening = delta.get("content"), first and bool(delta.get("role"))
    if text == "":
        return not opening and not choice.get("finish_reason")
    return bool(text)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MOST else -1


def _refused(response: httpx.Response, body: bytes, reply: Reply) -> None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    error = content.get("error") if isinstance(content, dict) else None
    code = _word(error.get("code")) if isinstance(error, dict) else None
    # A word of the server's own where it has one, so that a rate limit is not taken for a queue.
    reply.reason = code or {429: "rate_limit", 503: "overloaded"}.get(
        response.status_code, f"http_{response.status_code}"
    )
    headers = response.headers
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            wait_s = float(headers[name]) * unit_s
        except (KeyError, ValueError):  # not there, or a date
            continue
        if math.isfinite(wait_s):
            reply.retry_after_s = max(0.0, wait_s)
            return


def _error_in(chunk: dict[str, Any]) -> str:
    """The server's word for what went wrong in the middle of an answer: the code if that is a word,
    or else the type."""
    inner = chunk.get("error")
    told = inner if isinstance(inner, dict) else chunk
    words = (_word(told.get(name)) for name in ("code", "type", "error_type"))
    return next(filter(None, words), _UNEXPLAINED)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST else None
