"""What the client of `live --engine openai` makes of servers, good and odd ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from simlora.errors import UserError
from simlora.live.openai_driver import OpenAIDriver
from simlora.live.openai_options import CHAT, IDS, TEXT, Names, ServerOptions
from simlora.live.openai_prompts import Bodies, Prompts
from simlora.live.openai_server import prepare
from simlora.live.openai_stream import Reply, ask
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.serve.words import split
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from tests.unit.serve.service import scenario

HERE = ServerOptions("http://here")


def token(text: str = "a", **more: Any) -> str:
    choice = {"text": text, "finish_reason": None} | more
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


def told(**content: Any) -> str:
    return f"data: {json.dumps(content)}\n\n"


def stream(*parts: str | bytes) -> Response:
    """A server's answer in just these parts."""

    async def body() -> AsyncIterator[bytes]:
        for part in parts:
            yield part if isinstance(part, bytes) else part.encode()

    return StreamingResponse(body(), media_type="text/event-stream")


def reply_of(response: Response) -> Reply:
    """What the client takes from an answer to /v1/completions."""

    async def answer(_: HttpRequest) -> Response:
        return response

    async def run() -> Reply:
        app = Starlette(routes=[Route("/v1/completions", answer, methods=["POST"])])
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here/v1/") as client:
            reply = Reply()
            await ask(client, "completions", {}, reply)
            return reply

    return asyncio.run(run())


def test_tokens_are_counted_by_chunk_and_by_the_servers_usage() -> None:
    usage = 'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
    ended = token("", finish_reason="length")
    reply = reply_of(stream(token(), token("b c"), ended, usage, "data: [DONE]\n\n"))
    assert (reply.reason, len(reply.token_s), reply.tokens) == ("", 2, 4)
    assert reply.prompt_tokens == 9
    assert reply.token_s == sorted(reply.token_s)


def test_events_may_be_cut_anywhere_and_lines_end_in_either_way() -> None:
    text = (token("ä") + token("b")).replace("\n", "\r\n").encode() + b": note\n\ndata:[DONE]\n\n"
    cut = [text[place : place + 3] for place in range(0, len(text), 3)]
    reply = reply_of(stream(*cut))
    assert (reply.reason, reply.tokens) == ("", 2)


def delta(content: str | None = None, **more: Any) -> str:
    fields = {name: more.pop(name) for name in tuple(more) if name != "finish_reason"}
    choice = {"delta": {"content": content} | fields, "finish_reason": None} | more
    return told(choices=[choice], usage=None)


@pytest.mark.parametrize(
    ("chunks", "tokens"),
    [
        ([delta("", role="assistant"), delta("a"), delta("", finish_reason="stop")], 1),  # vLLM
        ([delta(role="assistant"), delta("a"), delta(finish_reason="length")], 1),
        ([delta("a", role="assistant"), delta("", role="assistant"), delta("b")], 3),  # TGI
        ([delta("", role="assistant"), delta("a"), delta(""), delta("b", finish_reason="stop")], 3),
        ([delta(role="assistant"), delta(reasoning_content="hm"), delta("a", role=None)], 2),
        ([delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]), delta()], 1),
    ],
)
def test_of_a_chat_what_says_who_speaks_or_why_it_ends_is_no_token(
    chunks: list[str], tokens: int
) -> None:
    reply = reply_of(stream(*chunks, "data: [DONE]\n\n"))
    assert (reply.reason, len(reply.token_s)) == ("", tokens)


def test_counts_that_are_none_are_left_alone() -> None:
    for count in (-1, 10**30, True, "4", 2.5, None):
        usage = told(usage={"prompt_tokens": count, "completion_tokens": count})
        reply = reply_of(stream(token(), usage, "data: [DONE]\n\n"))
        assert (reply.prompt_tokens, reply.tokens, reply.cached_tokens) == (-1, 1, -1)


@pytest.mark.parametrize(
    ("response", "reason", "tokens"),
    [
        (stream(token(), token()), "broken_off", 2),
        (stream(token(), "data: {nonsense\n\n"), "broken_off", 1),
        (stream(token(), "data: 3\n\n", "data: [DONE]\n\n"), "broken_off", 1),
        (stream(token(), 'data: {"error":{"code":"oom"}}\n\n', "data: [DONE]\n\n"), "oom", 1),
        (stream('data: {"error":"bad"}\n\n', "data: [DONE]\n\n"), "error", 0),
        (stream(token(), told(error={"type": "NotFoundError", "code": 404})), "NotFoundError", 1),
        (stream(token(), told(object="error", type="BadRequestError")), "BadRequestError", 1),
        (stream(told(error="worn out", error_type="generation")), "generation", 0),
        (stream(token(), "event: error\n" + told(message="x")), "error", 1),
        (stream(told(error={"code": "long" * 99})), "error", 0),
        (stream(token("", finish_reason="abort"), "data: [DONE]\n\n"), "abort", 0),
        (stream(token(), told(choices=None), told(usage=[])), "broken_off", 1),
        (stream("data: " + "[" * 100_000 + "\n\n"), "broken_off", 0),
        (stream(b"data: \xff\n\n"), "broken_off", 0),
        (stream(), "broken_off", 0),
        (JSONResponse({"choices": [{"text": "all at once"}]}), "not_streamed", 0),
        (PlainTextResponse("[" * 100_000, 500), "http_500", 0),
        (PlainTextResponse("oh", 500), "http_500", 0),
        (PlainTextResponse("oh", 429), "rate_limit", 0),
        (PlainTextResponse('{"error":[]}', 503), "overloaded", 0),
        (PlainTextResponse('{"error":{"code":"cold_start"}}', 503), "cold_start", 0),
        (PlainTextResponse('{"error":{"code":404}}', 404), "http_404", 0),
    ],
)
def test_an_answer_that_is_none_has_a_reason(response: Response, reason: str, tokens: int) -> None:
    reply = reply_of(response)
    assert (reply.reason, reply.tokens) == (reason, tokens)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "3", "retry-after-ms": "2500"}, 2.5),
        ({"retry-after": "Wed, 21 Oct 2037 07:28:00 GMT"}, -1.0),
        ({"retry-after": "inf"}, -1.0),
        ({"retry-after-ms": "nan", "retry-after": "-4"}, 0.0),
        ({}, -1.0),
    ],
)
def test_a_refusal_says_when_to_come_again(headers: dict[str, str], wait_s: float) -> None:
    assert reply_of(PlainTextResponse("", 429, headers)).retry_after_s == wait_s


def put(app: Starlette, asks: list[float], **changes: Any) -> tuple[OpenAIDriver, list[Request]]:
    """Put requests of two tokens to an application at these times."""
    deployment = expand(scenario(**changes))
    ended: list[Request] = []
    log = StepLog(len(deployment.tiers))

    async def run() -> OpenAIDriver:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://here/v1/", timeout=None
        ) as client:
            prompts = Prompts(1000, 0, 16, as_text=False)
            bodies = Bodies(HERE, Names(deployment, HERE), prompts)
            driver = OpenAIDriver(
                deployment, HERE, [client], bodies, log, ended, lambda at_s: at_s + 0.5
            )
            requests = (Request(n, at_s, 0, 0, 0, 4, 2) for n, at_s in enumerate(asks))
            assert await driver.run(requests, None) == []
            return driver

    return asyncio.run(run()), sorted(ended, key=lambda request: request.index)


def serving(answer: Any) -> Starlette:
    return Starlette(routes=[Route("/v1/completions", answer, methods=["POST"])])


def test_requests_are_sent_at_their_times_however_slow_the_server_is() -> None:
    came: list[float] = []

    async def slow(_: HttpRequest) -> Response:
        came.append(asyncio.get_running_loop().time())
        while len(came) < 30:  # nobody is answered before the last has come
            await asyncio.sleep(0.005)
        return stream(token(), token(), "data: [DONE]\n\n")

    asks = [0.01 * n for n in range(30)]
    driver, ended = put(serving(slow), asks)
    assert [request.status for request in ended] == [COMPLETED] * 30
    assert all(late_s >= 0 for late_s in driver.late_s)
    assert all(request.finish_s >= asks[-1] for request in ended)


def test_whoever_is_turned_away_comes_again_as_often_as_the_scenario_says() -> None:
    tries = 0

    async def refusing(_: HttpRequest) -> Response:
        nonlocal tries
        tries += 1
        if tries < 3:
            return PlainTextResponse("", 503, {"retry-after-ms": "40"})
        return stream(token(), token(), "data: [DONE]\n\n")

    workload = {"rate_rps": 1.0, "clients": {"retries": 2}}
    _, (request,) = put(serving(refusing), [0.0], workload=workload)
    assert (request.status, request.attempts, request.reason) == (COMPLETED, 3, "")
    assert request.queue_s >= 0.08
    total_s = request.queue_s + request.prefill_s + request.decode_s
    assert total_s == pytest.approx(request.finish_s - request.arrival_s)
    tries = 0
    workload = {"rate_rps": 1.0, "clients": {"retries": 1}}
    _, (request,) = put(serving(refusing), [0.0], workload=workload)
    assert (request.status, request.attempts, request.reason) == (REJECTED, 2, "overloaded")


def test_a_client_gives_up_when_its_tiers_time_is_over() -> None:
    async def stuck(_: HttpRequest) -> Response:
        await asyncio.sleep(5)
        return stream()

    timeouts = {"timeouts_s": {"gold": 0.05}}
    _, (request,) = put(serving(stuck), [0.0], gateway=timeouts)
    assert (request.status, request.reason) == (FAILED, "timeout")
    assert 0.05 <= request.finish_s < 5


def test_an_answer_without_tokens_is_a_failure() -> None:
    async def silent(_: HttpRequest) -> Response:
        return stream("data: [DONE]\n\n")

    _, (request,) = put(serving(silent), [0.0])
    assert (request.status, request.reason) == (FAILED, "no_tokens")


def test_tokens_that_come_several_a_chunk_are_told_of() -> None:
    async def gathering(_: HttpRequest) -> Response:
        usage = told(choices=[], usage={"prompt_tokens": 4, "completion_tokens": 6})
        return stream(token("a b c"), token("d e"), usage, "data: [DONE]\n\n")

    driver, (request,) = put(serving(gathering), [0.0])
    assert (request.status, request.output_tokens) == (COMPLETED, 6)
    assert (driver.told_otherwise, driver.at_once) == (1, 0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"endpoint": CHAT, "prompts": IDS}, "--prompts ids: goes with --endpoint completions"),
        ({"endpoint": "talk"}, "--endpoint: is 'talk', allowed are completions, chat"),
        ({"silence_s": float("nan")}, "--timeout: is nan, must be more than 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        ServerOptions("http://x", **options)


@pytest.mark.parametrize("form", [IDS, TEXT])
def test_prompts_have_the_asked_length_and_shared_prefixes(form: str) -> None:
    prompts = Prompts(128_000, seed=1, block_tokens=16, as_text=form == TEXT)
    first, second = (
        prompts.prompt(Request(n, 0.0, 0, 0, 0, 50, 5, prefix_hashes=[7, 8 + n])) for n in (0, 1)
    )
    if isinstance(first, str):
        assert isinstance(second, str)
        first, second = split(first), split(second)  # type: ignore[assignment]
    assert len(first) == len(second) == 50
    assert first[:16] == second[:16]
    assert first[16:32] != second[16:32]
    assert first[32:] != second[32:]


def test_names_are_made_by_template() -> None:
    deployment = expand(scenario())
    options = ServerOptions(
        "http://x",
        model_names="lora/{adapter}",
        base_model="b",
        load_adapters="/a/{tenant}/{index}",
    )
    names = Names(deployment, options)
    assert [names.model(index) for index in (-1, 0, 3)] == [
        "b",
        "lora/pro-0000",
        "lora/free-0000/1",
    ]
    assert names.path(3) == "/a/free-0000/3"
    assert Names(deployment, HERE).path(3) is None


@pytest.mark.parametrize("template", ["plain", "{name}", "{", "{adapter.x}", "{0}", "{adapter!q}"])
def test_a_wrong_template_is_refused(template: str) -> None:
    with pytest.raises(UserError, match="must name the adapter"):
        Names(expand(scenario()), ServerOptions("http://x", model_names=template))


def test_adapters_are_loaded_first_where_that_is_asked_for() -> None:
    loaded: list[tuple[str, str]] = []

    async def load(http: HttpRequest) -> Response:
        body = await http.json()
        if any(name == body["lora_name"] for name, _ in loaded):
            return PlainTextResponse("has already been loaded", 400)
        loaded.append((body["lora_name"], body["lora_path"]))
        return PlainTextResponse("Success")

    async def models(_: HttpRequest) -> Response:
        return Response(json.dumps({"data": [{"id": name} for name, _ in loaded]}))

    routes = [Route("/v1/load_lora_adapter", load, methods=["POST"]), Route("/v1/models", models)]
    options = ServerOptions("http://here", load_adapters="/a/{adapter}")
    names = Names(expand(scenario()), options)

    async def run() -> None:
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://here/v1/") as client:
            for _ in "12":  # a second run finds them there
                await prepare(client, options, names, {1, 0})

    asyncio.run(run())
    assert loaded == [("pro-0000", "/a/pro-0000"), ("pro-0001", "/a/pro-0001")]
