"""The HTTP side: OpenAI's paths over one replica."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from simlora.scenario.deployment import Deployment
from simlora.serve.bodies import Asked, read_body
from simlora.serve.keys import Keys, operators_only
from simlora.serve.metrics import Metrics
from simlora.serve.problems import FORBIDDEN, INVALID, MISSING, Problem, draining, invalid
from simlora.serve.replica import Replica
from simlora.serve.replies import Reply
from simlora.serve.responses import AnswerResponse, ProblemResponse

MOST_BYTES = 32 * 2**20  # of a body
# A longer one is read by a thread, so that those who are being answered need not wait for it.
LONG_BYTES = 50_000

_Outcome = TypeVar("_Outcome")


class OpenAIServer:
    """Finds out who asks for what, and hands it on. Without `keys` anybody may ask for anything;
    then OpenAI's field `user` may name the tenant of a request for the base model, who else is the
    scenario's first one."""

    def __init__(self, replica: Replica, metrics: Metrics, keys: Keys | None) -> None:
        deployment = replica.deployment
        self.draining_s: float | None = None  # the grace time, once the server is to end
        self._replica = replica
        self._metrics = metrics
        self._keys = keys
        self._deployment = deployment
        self._base = deployment.models[0].name
        self._created_s = int(time.time())
        candidates = set(deployment.candidates.values())
        # Next versions have no name of their own: their share of requests is sent to them.
        self._adapters = {
            name: index
            for name, index in deployment.adapter_index.items()
            if index not in candidates
        }

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/completions", self._completions, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/health", self._health),
            Route("/metrics", self._read_metrics),
        ]
        handlers = {Problem: _problem, HTTPException: _http_problem, ClientDisconnect: _nobody}
        return Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]

    # --- paths --------------------------------------------------------------------------

    async def _completions(self, http: Request) -> Response:
        return await self._answer(http, chat=False)

    async def _chat(self, http: Request) -> Response:
        return await self._answer(http, chat=True)

    async def _answer(self, http: Request, *, chat: bool) -> Response:
        self._check_open()
        owner = self._owner(http)
        raw = await _body(http)
        asked = await _aside(raw, partial(read_body, raw, chat))
        tenant, adapter = self._find(asked, owner)
        prompt = await _aside(raw, partial(self._replica.encode, asked))
        if not prompt:
            raise invalid("prompt: has no tokens; give at least one")
        longest = self._replica.longest
        room = longest - len(prompt)
        if room < (asked.most or 1):
            tokens = len(prompt) + (asked.most or 1)
            raise invalid(
                f"prompt and answer have {tokens} tokens, allowed are {longest}",
                "context_length_exceeded",
            )
        self._check_open()  # still: the body was waited for
        answer = self._replica.ask(tenant, adapter, prompt, asked.most or room, asked)
        reply = Reply(asked, answer, int(time.time()))
        return AnswerResponse(self._replica, answer, reply, stream=asked.stream)

    async def _models(self, http: Request) -> Response:
        owner = self._owner(http)
        models = [self._model(self._base, None)]
        for adapter in self._deployment.served_by(0):
            mine = owner is None or adapter.tenant == owner
            if mine and adapter.name in self._adapters:
                models.append(self._model(adapter.name, self._base))
        return JSONResponse({"object": "list", "data": models})

    def _model(self, name: str, parent: str | None) -> dict[str, object]:
        return {
            "id": name,
            "object": "model",
            "created": self._created_s,
            "owned_by": "simlora",
            "root": name,
            "parent": parent,
            "max_model_len": self._replica.longest,
        }

    async def _health(self, _: Request) -> Response:
        self._check_open()
        return JSONResponse({"status": "ok"})

    async def _read_metrics(self, http: Request) -> Response:
        if self._owner(http) is not None:
            raise operators_only()
        return PlainTextResponse(self._metrics.text(), media_type="text/plain; version=0.0.4")

    def _check_open(self) -> None:
        """Raises Problem (503) once the server is to end."""
        if self.draining_s is not None:
            raise draining(self.draining_s)

    # --- who and what -------------------------------------------------------------------

    def _owner(self, http: Request) -> int | None:
        """The tenant who asks; None: the operator, or anybody where there are no keys."""
        return None if self._keys is None else self._keys.owner(http.headers.get("authorization"))

    def _find(self, asked: Asked, owner: int | None) -> tuple[int, int]:
        """Tenant and adapter of a request. Raises Problem (403, 404)."""
        deployment = self._deployment
        if asked.model == self._base:
            if owner is None:
                owner = _named(deployment, asked.user)
            return owner, -1
        adapter = self._adapters.get(asked.model)
        if adapter is None:
            message = f'model: there is no "{asked.model[:80]}", see /v1/models'
            raise Problem(404, MISSING, message, "model_not_found")
        tenant = deployment.adapters[adapter].tenant
        if owner is not None and owner != tenant:
            message = "model: the adapter is another tenant's"
            raise Problem(403, FORBIDDEN, message, "not_your_model")
        return tenant, adapter


def _named(deployment: Deployment, user: str | None) -> int:
    return deployment.tenant_index.get(user or "", 0)


async def _aside(raw: bytes, work: Callable[[], _Outcome]) -> _Outcome:
    """Do what a request's body needs, beside everything else if it is long."""
    return await run_in_threadpool(work) if len(raw) > LONG_BYTES else work()


async def _body(http: Request) -> bytes:
    """The body. Raises Problem (413) for one that is too long to be meant."""
    body = bytearray()
    async for part in http.stream():
        body += part
        if len(body) > MOST_BYTES:
            message = f"the body is larger than {MOST_BYTES // 2**20} MiB"
            raise Problem(413, INVALID, message, "too_large")
    return bytes(body)


async def _problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return ProblemResponse(problem)


async def _http_problem(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{http.method} {http.url.path[:80]}: {error.detail}"
    response = ProblemResponse(Problem(error.status_code, INVALID, message, "http"))
    response.headers.update(error.headers or {})
    return response


async def _nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # the client has gone before its body was there
