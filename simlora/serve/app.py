"""The HTTP side: OpenAI's paths over one replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from simlora.scenario.deployment import Deployment
from simlora.serve.bodies import MOST_MESSAGES, Asked, read_body
from simlora.serve.json_size import count_values
from simlora.serve.keys import Keys, operators_only
from simlora.serve.metrics import Metrics
from simlora.serve.problems import INVALID, LATE, MISSING, Problem, draining, invalid
from simlora.serve.replica import Replica
from simlora.serve.replies import Reply
from simlora.serve.responses import AnswerResponse, ProblemResponse

# Of a body there is read what holds the longest request, and no more: parsing JSON stops everything
# else. Tokens take fewer bytes than this on average, also where JSON escapes every letter.
TOKEN_BYTES = 32
OTHER_BYTES = 2**18  # everything but the prompt
MOST_BYTES = 32 * 2**20  # however long requests may be
BODY_S = 60.0  # in which a body must have come
# A longer one is read by a thread. While its JSON is parsed everything else stands still all the
# same, so that there must not be more in it than there is in a request; while its text is tokenized
# it does not. Python lets threads take turns of 5 ms, and everything else is one of them.
LONG_BYTES = 50_000
OTHER_VALUES = 10 * MOST_MESSAGES  # everything but token ids
BODY_THREADS = 4

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
        self._threads = ThreadPoolExecutor(BODY_THREADS, "bodies")
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
        raw = await _body(http, self.most_bytes)
        asked = await self._aside(raw, partial(self._read, raw, chat))
        tenant, adapter = self._find(asked, owner)
        if isinstance(asked.prompt, list):
            self._room(len(asked.prompt), asked)  # ids are not looked at to learn how many they are
        prompt = await self._aside(raw, partial(self._replica.encode, asked))
        if not prompt:
            raise invalid("prompt: has no tokens; give at least one")
        room = self._room(len(prompt), asked)
        self._check_open()  # still: the body was waited for
        answer = self._replica.ask(tenant, adapter, prompt, asked.most or room, asked)
        reply = Reply(asked, answer, int(time.time()))
        return AnswerResponse(self._replica, answer, reply, stream=asked.stream)

    async def _aside(self, raw: bytes, work: Callable[[], _Outcome]) -> _Outcome:
        """Do what a request's body needs, beside everything else if it is long."""
        if len(raw) <= LONG_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _read(self, raw: bytes, chat: bool) -> Asked:
        """Raises Problem (413, 400) for a body with more in it than a request has, or for none."""
        most = self.most_values(chat)
        if len(raw) > most and count_values(raw) > most:
            raise Problem(413, INVALID, f"the body has more than {most} JSON values", "too_large")
        return read_body(raw, chat)

    def most_values(self, chat: bool) -> int:
        """The JSON values that the body of a request may have: 100,000, and if it is no chat one
        for each token that prompt and answer may have together."""
        return OTHER_VALUES + (0 if chat else self._replica.longest)

    @property
    def most_bytes(self) -> int:
        """What the body of a request may have: 32 bytes for each token that prompt and answer may
        have together, and 256 KiB; at most 32 MiB."""
        return min(MOST_BYTES, OTHER_BYTES + TOKEN_BYTES * self._replica.longest)

    def _room(self, prompt_tokens: int, asked: Asked) -> int:
        """The tokens that are left for an answer. Raises Problem (400) if they are too few."""
        longest, answer_tokens = self._replica.longest, asked.most or 1
        if prompt_tokens + answer_tokens > longest:
            # Of a prompt that is too long by itself, the tokens are not counted to the end.
            least = "at least " if prompt_tokens > longest else ""
            raise invalid(
                f"prompt and answer have {least}{prompt_tokens + answer_tokens} tokens, allowed "
                f"are {longest}",
                "context_length_exceeded",
            )
        return longest - prompt_tokens

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
        """Tenant and adapter of a request. Raises Problem (404), also for another tenant's adapter:
        who else is served is nobody's business."""
        deployment = self._deployment
        if asked.model == self._base:
            if owner is None:
                owner = _named(deployment, asked.user)
            return owner, -1
        adapter = self._adapters.get(asked.model)
        if adapter is not None:
            tenant = deployment.adapters[adapter].tenant
            if owner in (None, tenant):
                return tenant, adapter
        message = f'model: there is no "{asked.model[:80]}", see /v1/models'
        raise Problem(404, MISSING, message, "model_not_found")


def _named(deployment: Deployment, user: str | None) -> int:
    return deployment.tenant_index.get(user or "", 0)


async def _body(http: Request, most_bytes: int) -> bytes:
    """The body. Raises Problem (413, 408) for one that is too long, or does not come."""
    announced = http.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most_bytes:
        raise _too_large(most_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in http.stream():
                body += part
                if len(body) > most_bytes:
                    raise _too_large(most_bytes)
    except TimeoutError:
        message = f"the body has not come within {BODY_S:g} s"
        raise Problem(408, LATE, message, "body_timeout") from None
    return bytes(body)


def _too_large(most_bytes: int) -> Problem:
    return Problem(413, INVALID, f"the body has more than {most_bytes} bytes", "too_large")


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
