"""One request to an OpenAI-compatible server, and what came back when."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

_CONNECTING = "connection"  # reasons of failures that have no status
_BROKEN = "broken_off"


@dataclass(slots=True)
class Reply:
    """Readings of `time.perf_counter` at each token, and the server's counts (-1: not told).
    `reason` says why there is no whole answer; then `status` is that of the answer, or 0."""

    token_s: list[float] = field(default_factory=list)
    prompt_tokens: int = -1
    completion_tokens: int = -1
    status: int = 0
    reason: str = ""
    retry_after_s: float = -1.0

    @property
    def tokens(self) -> int:
        """Tokens of the answer so far: as the server counts them, or else the chunks."""
        return max(self.completion_tokens, len(self.token_s))


async def ask(client: httpx.AsyncClient, body: dict[str, Any], reply: Reply) -> None:
    """POST /v1/completions, streamed. `reply` grows as the answer does; what goes wrong is noted
    there."""
    try:
        async with client.stream("POST", "completions", json=body) as response:
            reply.status = response.status_code
            if response.status_code != 200:
                _refused(response, await response.aread(), reply)
            else:
                await _read(response.aiter_bytes(), reply)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
        reply.reason = _CONNECTING
    except (httpx.HTTPError, ValueError):
        reply.reason = _BROKEN


async def _read(parts: AsyncIterator[bytes], reply: Reply) -> None:
    rest, done = b"", False
    async for part in parts:
        now = time.perf_counter()
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                done = True
            else:
                _take(json.loads(data), now, reply)
    if not done and not reply.reason:
        reply.reason = _BROKEN


def _take(chunk: Any, now: float, reply: Reply) -> None:
    """Raises ValueError for what is no chunk."""
    if not isinstance(chunk, dict):
        raise ValueError("no object")
    if error := chunk.get("error"):
        reply.reason = _code(error) or "error"
        return
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        reply.prompt_tokens = _count(usage, "prompt_tokens")
        reply.completion_tokens = _count(usage, "completion_tokens")
    choices = chunk.get("choices")
    # An empty text is a token too, of which nothing can be shown yet; the one that only says why
    # the answer has ended is none.
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        first = choices[0]
        if first.get("text") or (first.get("text") == "" and not first.get("finish_reason")):
            reply.token_s.append(now)


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else -1


def _refused(response: httpx.Response, body: bytes, reply: Reply) -> None:
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    code = _code(content.get("error")) if isinstance(content, dict) else None
    # A word of the server's own where it has one, so that a rate limit is not taken for a queue.
    reply.reason = code or {429: "rate_limit", 503: "overloaded"}.get(
        response.status_code, f"http_{response.status_code}"
    )
    headers = response.headers
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            reply.retry_after_s = max(0.0, float(headers[name]) * unit_s)
            return
        except (KeyError, ValueError):  # not there, or a date
            continue


def _code(error: Any) -> str | None:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and 0 < len(code) <= 60 else None
