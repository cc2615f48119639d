"""Live runs over real HTTP: on a simulated server, and on one that does all sorts of wrong."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import simlora
from simlora.cli.main import main
from simlora.live.openai_client import run_openai
from simlora.live.openai_options import CHAT, COMPLETIONS, ServerOptions
from simlora.results.result import load_result
from simlora.scenario.schema import Scenario

REQUESTS = 12
SESSIONS = {
    "turns_mean": 6,
    "think_time_s": 0.3,
    "max_context_tokens": 2000,
    "common_prefix_tokens": 64,
    "shared_prefix_tokens": 32,
}
PATHS = ("/v1/completions", "/v1/chat/completions")
Answer = Callable[[HttpRequest], Awaitable[Response]]


def scenario(**workload: Any) -> Scenario:
    """A few requests within a second or so."""
    return Scenario.model_validate(
        {
            "name": "over-http",
            "model": "tiny-llama",
            "fleet": [{"gpu": "a10g"}],
            "tenants": [{"name": "firm", "count": 2, "adapter": {"rank": 8}}],
            "workload": {
                "rate_rps": 20.0,
                "max_requests": REQUESTS,
                "prompt_tokens": {"uniform": {"min": 20, "max": 60}},
                "output_tokens": {"fixed": 20},
            }
            | workload,
            "engine": {"max_model_len": 2048},
            "timing": {"profile": "roofline"},
        }
    )


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of an application, served by a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, loop="asyncio", lifespan="off", ws="none", log_level="critical")
    server = uvicorn.Server(config)

    async def serve() -> None:
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


def faulty(answer: Answer) -> Starlette:
    """A server that lists no models and answers like this."""

    async def models(_: HttpRequest) -> Response:
        return JSONResponse({"object": "list"})

    routes = [Route("/v1/models", models)]
    return Starlette(routes=routes + [Route(path, answer, methods=["POST"]) for path in PATHS])


def chunk(text: str = "a") -> str:
    """Of either kind of answer."""
    choice = {"text": text, "delta": {"content": text}, "finish_reason": None}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


def streaming(*parts: str, then: Callable[[], Awaitable[None]] | None = None) -> Answer:
    async def body() -> AsyncIterator[str]:
        for part in parts:
            yield part
            await asyncio.sleep(0)
        if then is not None:
            await then()

    async def answer(_: HttpRequest) -> Response:
        return StreamingResponse(body(), media_type="text/event-stream")

    return answer


async def for_ever() -> None:
    await asyncio.Event().wait()


async def crash() -> None:
    raise ConnectionAbortedError


async def never(_: HttpRequest) -> Response:
    await for_ever()
    raise AssertionError


async def pinging(_: HttpRequest) -> Response:
    async def pings() -> AsyncIterator[str]:
        while True:
            yield ": ping\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(pings(), media_type="text/event-stream")


@pytest.mark.parametrize("endpoint", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(
    ("answer", "reason", "tokens"),
    [
        (never, "timeout", 0),
        (pinging, "timeout", 0),
        (streaming(chunk(), then=for_ever), "timeout", 1),
        (streaming(chunk(), chunk()), "broken_off", 2),  # no [DONE]
        (streaming(chunk(), then=crash), "broken_off", 1),
        (streaming(chunk(), "data: {oh\n\n"), "broken_off", 1),
        (streaming(chunk(), 'data: {"error": {"type": "Oom", "code": 500}}\n\n'), "Oom", 1),
        (streaming(chunk(), 'data: {"object": "error", "code": 400}\n\n'), "error", 1),
        (streaming('data: {"error": 1}\n\n', then=for_ever), "error", 0),
    ],
)
def test_what_goes_wrong_with_an_answer_is_the_reason_of_a_failed_request(
    tmp_path: Path, endpoint: str, answer: Answer, reason: str, tokens: int
) -> None:
    with listening(faulty(answer)) as url:
        options = ServerOptions(url, endpoint=endpoint, silence_s=0.3)
        result = run_openai(scenario(max_requests=3), tmp_path, options)
    requests = result.summary["requests"]
    assert (requests["offered"], requests["failed"]) == (3, 3)
    assert requests["reasons"]["failed"] == {reason: 3}
    assert result.requests["ttft_s"].notna().all() == (tokens > 0)


def test_a_server_that_says_it_is_done_need_not_end_its_stream(tmp_path: Path) -> None:
    app = faulty(streaming(chunk(), chunk(), "data: [DONE]\n\n", then=for_ever))
    with listening(app) as url:
        result = run_openai(scenario(max_requests=3), tmp_path, ServerOptions(url, silence_s=0.5))
    assert result.summary["requests"]["completed"] == 3
    assert set(result.requests["output_tokens"]) == {2}


@contextmanager
def breaking(head: bytes) -> Iterator[str]:
    """A server that lists its models, and to any other request sends `head` and then resets the
    connection; to the third one it refuses connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    models = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"

    def serve() -> None:
        for number in range(3):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head if number else models)
                if number:  # reset, with nothing more sent
                    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n\r\n" + chunk().encode()])
def test_connections_that_are_reset_or_refused_fail_their_requests(
    tmp_path: Path, sent: bytes
) -> None:
    with breaking(sent) as url:
        loaded = scenario(max_requests=4, rate_rps=4.0, arrivals="constant")
        result = run_openai(loaded, tmp_path, ServerOptions(url))
    assert result.summary["requests"]["reasons"]["failed"] == {"broken_off": 2, "connection": 2}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A scenario with sessions, and the address of `simlora serve` on it."""
    path = tmp_path_factory.mktemp("serve") / "scenario.yaml"
    path.write_text(scenario(arrivals={"sessions": SESSIONS}).model_dump_json())
    command = [sys.executable, "-m", "simlora", "serve", str(path), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield path, found[0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def tokens_hit(url: str) -> float:
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.search(r"^vllm:prefix_cache_hits\S* (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.mark.parametrize("endpoint", [COMPLETIONS, CHAT])
def test_sessions_on_a_simulated_server_reuse_what_was_said_before(
    stand_in: tuple[Path, str], tmp_path: Path, endpoint: str
) -> None:
    path, url = stand_in
    before = tokens_hit(url)
    command = ["live", str(path), "--engine", "openai", "--url", url, "--endpoint", endpoint]
    command += ["--timeout", "30"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    result = load_result(tmp_path)
    summary = result.summary
    assert summary["requests"]["completed"] == summary["requests"]["offered"] == REQUESTS
    asked = simlora.simulate(simlora.load_scenario(path)).requests.sort_values("request")
    rows = result.requests.sort_values("request")
    assert rows["output_tokens"].tolist() == asked["output_tokens"].tolist()
    # A chat's template adds some tokens for every message.
    added = rows["prompt_tokens"].to_numpy() - asked["prompt_tokens"].to_numpy()
    assert (added > 0).all() if endpoint == CHAT else not added.any()
    for metric in ("ttft_s", "tpot_s", "itl_s"):
        assert summary["latency"][metric]["mean"] > 0
    told = summary["prefix_cache"]
    assert told["hit_tokens"] == rows["cached_tokens"].sum() == tokens_hit(url) - before > 0
    assert told["lookup_tokens"] == rows["prompt_tokens"].sum()
    page = (tmp_path / "report.html").read_text()
    assert "What the client saw" in page
    assert "Memory over time" not in page
    total_s = rows["queue_s"] + rows["prefill_s"] + rows["decode_s"]
    assert total_s.tolist() == pytest.approx(rows["e2e_s"].tolist())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--endpoint", "chat", "--prompts", "ids"], "--prompts ids: goes with --endpoint compl"),
        (["--endpoint", "talk"], "'talk' is not one of 'completions', 'chat'"),
        (["--timeout", "nan"], "--timeout: is nan, must be more than 0"),
        (["--timeout", "0"], "0.0 is not in the range x>0"),
        (["--api-key", "schlüssel"], "--api-key: must be printable ASCII"),
        (["--api-key", "two\nlines"], "--api-key: must be printable ASCII"),
        (["--engine", "embedded", "--endpoint", "chat"], "--endpoint: goes with --engine openai"),
        (["--engine", "embedded", "--timeout", "3"], "--timeout: goes with --engine openai only"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(scenario().model_dump_json())
    server = [] if "embedded" in arguments else ["--engine", "openai", "--url", "http://x"]
    assert main(["live", str(path), *server, *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_password_in_the_servers_address_is_not_written_down(tmp_path: Path) -> None:
    app = faulty(streaming(chunk(), chunk(), "data: [DONE]\n\n"))
    with listening(app) as url:
        named = url.replace("//", "//user:geheim@")
        run_openai(scenario(max_requests=1), tmp_path, ServerOptions(named))
    for name in ("summary.json", "scenario.resolved.yaml"):
        text = (tmp_path / name).read_text()
        assert url in text
        assert "geheim" not in text
