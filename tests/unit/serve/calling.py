"""Clients that can go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from simlora.serve.run import Service


class Call:
    """A request put to the application directly, whose client can go away."""

    def __init__(self, service: Service, body: dict[str, Any]) -> None:
        self.sent = b""
        self._body = json.dumps(body).encode()
        self._gone = asyncio.Event()
        self._asked = False
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/completions",
            "raw_path": b"/v1/completions",
            "query_string": b"",
            "headers": [],
        }
        self.task = asyncio.create_task(self._run(service.app, scope))

    @property
    def text(self) -> str:
        """What the stream has said so far."""
        chunks = self.sent.decode().split("\n\n")[:-1]
        contents = [json.loads(chunk[6:]) for chunk in chunks if chunk != "data: [DONE]"]
        return "".join(content["choices"][0]["text"] for content in contents)

    async def _run(self, app: Callable[..., Awaitable[None]], scope: dict[str, Any]) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent += message.get("body", b"")

    async def go(self) -> None:
        """The client goes away; wait until the application is done with it."""
        self._gone.set()
        async with asyncio.timeout(20):
            await self.task
