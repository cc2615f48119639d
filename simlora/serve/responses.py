"""Sending an answer while its client is there."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from simlora.serve.answer import Answer
from simlora.serve.problems import Problem, ended_badly
from simlora.serve.replica import Replica
from simlora.serve.replies import Reply, failure

GONE = "disconnected"


class ProblemResponse(JSONResponse):
    """An error in OpenAI's form."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.body, problem.status, problem.headers)


class AnswerResponse(Response):
    """Waits for the answer of a request and sends it, streamed or whole; status and headers go out
    with the first token, so that until then a refusal can be told by its status. A client that goes
    away is nobody to wait for: its request is given up."""

    def __init__(self, replica: Replica, answer: Answer, reply: Reply, *, stream: bool) -> None:
        super().__init__()
        self._replica = replica
        self._answer = answer
        self._reply = reply
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        watching = asyncio.create_task(self._watch(receive))
        try:
            answer = self._answer
            # An answer that is not streamed is wanted when it is complete, and not before.
            emitted = await answer.until(1 if self._stream else answer.request.output_tokens + 1)
            if not emitted or not (self._stream or answer.complete):
                await ProblemResponse(ended_badly(answer.request))(scope, receive, send)
            elif self._stream:
                await self._send_events(send)
            else:
                body = self._reply.whole()
                await Response(body, media_type="application/json")(scope, receive, send)
        finally:
            watching.cancel()
            self._replica.give_up(self._answer, GONE)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._replica.give_up(self._answer, GONE)

    async def _send_events(self, send: Send) -> None:
        answer, reply = self._answer, self._reply
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        headers.append((b"cache-control", b"no-cache"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sent, opening = 0, reply.opening()
        while True:
            emitted, over = answer.emitted, answer.over
            body = opening + b"".join(reply.chunks(sent, emitted))
            if over:
                ending = (
                    reply.closing() if answer.complete else failure(ended_badly(answer.request))
                )
                body += ending
            await send({"type": "http.response.body", "body": body, "more_body": not over})
            if over:
                return
            sent, opening = emitted, b""
            await answer.until(sent + 1)
