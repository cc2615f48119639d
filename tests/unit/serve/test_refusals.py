"""What a client is told that gets no answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from simlora.serve.run import Service
from tests.unit.serve.service import chat, completion, post, scenario, with_client


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(scenario())


def test_over_its_rate_limit_a_tenant_is_told_when_to_come_again() -> None:
    service = Service(scenario(gateway={"rate_limits": {"gold": {"rps": 5.0, "burst": 1}}}))

    async def act(client: httpx.AsyncClient) -> tuple[httpx.Response, list[int]]:
        statuses = []
        first = await client.post("completions", json=completion())
        refused = await client.post("completions", json=completion(stream=True))
        statuses += [first.status_code, refused.status_code]
        other = await client.post("completions", json=completion(model="pro-0001"))
        await asyncio.sleep(float(refused.headers["retry-after-ms"]) / 1000)
        again = await client.post("completions", json=completion())
        return refused, [*statuses, other.status_code, again.status_code]

    refused, statuses = with_client(service, act)
    assert statuses == [200, 429, 200, 200]
    assert refused.json()["error"]["code"] == "rate_limit"
    assert refused.headers["retry-after"] == "1"
    assert 0 < float(refused.headers["retry-after-ms"]) <= 200


def test_while_too_many_wait_requests_are_turned_away() -> None:
    gateway = {"admission": {"max_queue": {"gold": 0}, "retry_after_s": 3.0}}
    service = Service(scenario(gateway=gateway, engine={"max_num_seqs": 1, "max_model_len": 512}))

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        ask = [client.post("completions", json=completion(max_tokens=50)) for _ in range(6)]
        return await asyncio.gather(*ask)

    responses = with_client(service, act)
    refused = [response for response in responses if response.status_code == 503]
    assert {response.status_code for response in responses} == {200, 503}
    assert {response.json()["error"]["code"] for response in refused} == {"overloaded"}
    assert {response.headers["retry-after"] for response in refused} == {"3"}


def test_a_cold_adapter_is_refused_where_the_scenario_says_so() -> None:
    service = Service(scenario(adapters={"cold_start": "reject", "retry_after_s": 0.5}))
    response = post(service, "completions", completion())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "cold_start"
    assert response.headers["retry-after-ms"] == "500.000"


def test_an_adapter_that_cannot_be_loaded_fails_its_requests() -> None:
    loading = {"corrupt": ["pro-0000"], "retries": 0}
    service = Service(scenario(adapters={"loading": loading}))
    response = post(service, "completions", completion(stream=True))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "adapter_load")
    assert post(service, "completions", completion(model="pro-0001")).status_code == 200


def test_a_request_that_outlasts_its_tiers_time_is_given_up() -> None:
    service = Service(scenario(gateway={"timeouts_s": {"gold": 0.05}}))
    body = completion(max_tokens=500)

    async def act(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        whole = await client.post("completions", json=body)
        return whole, await client.post("completions", json=body | {"stream": True})

    whole, streamed = with_client(service, act)
    assert (whole.status_code, whole.json()["error"]["code"]) == (504, "timeout")
    # Tokens had been sent, so the status was out.
    assert streamed.status_code == 200
    *tokens, failure, done, _ = streamed.text.split("\n\n")
    assert len(tokens) > 2
    assert json.loads(failure.removeprefix("data: "))["error"]["code"] == "timeout"
    assert done == "data: [DONE]"
    assert not service.replica.server.scheduler.running


def test_a_server_that_is_to_end_takes_no_more() -> None:
    service = Service(scenario())
    service.openai.draining_s = 12.5
    for path, body in (("completions", completion()), ("chat/completions", chat())):
        response = post(service, path, body)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "13"
        assert response.json()["error"]["code"] == "shutting_down"
    response = with_client(service, lambda client: client.get("http://here/health"))
    assert response.status_code == 503


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt": 5}, "prompt: must be one text or one list of token ids, not 5"),
        ({"prompt": ["a", "b"]}, "prompt: must be one text"),
        ({"prompt": [1, "b"]}, "prompt: must be one text"),
        ({"prompt": [True]}, "prompt: must be one text"),
        ({"prompt": ""}, "prompt: has no tokens"),
        ({"prompt": []}, "prompt: has no tokens"),
        ({"stop": "a" * 1001}, "stop: must have at most 1000 characters each, not "),
        ({"max_tokens": 0}, "max_tokens: input should be greater than or equal to 1, not 0"),
        ({"max_tokens": "3"}, "max_tokens: input should be a valid integer, not '3'"),
        ({"max_tokens": 2**40}, "max_tokens: input should be less than"),
        ({"n": 2}, "n: is 2, allowed is 1"),
        ({"stream": "yes"}, "stream: input should be a valid boolean"),
        ({"stream_options": 3}, "stream_options: "),
        ({"model": ""}, "model: "),
        ({"model": None}, "model: "),
        ({"max_tokens": 600}, "prompt and answer have 603 tokens, allowed are 512"),
    ],
)
def test_a_malformed_completion_is_told_by_field(
    service: Service, change: dict[str, Any], told: str
) -> None:
    response = post(service, "completions", completion(**change))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"messages": []}, "messages: list should have at least 1 item, not []"),
        ({"messages": "hello"}, "messages: "),
        (
            {"messages": [{"role": "user"}] * 10_001},
            "messages: list should have at most 10000 items, not [{'role': 'user'}, ",
        ),
        ({"messages": [{"content": "a"}]}, "messages.0.role: is missing"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: must be a text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content: must be a text",
        ),
        ({"max_completion_tokens": -1}, "max_completion_tokens: "),
    ],
)
def test_a_malformed_chat_is_told_by_field(
    service: Service, change: dict[str, Any], told: str
) -> None:
    response = post(service, "chat/completions", chat(**change))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(told)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"\xff\xfe", "the body is no JSON"),
        (b"[" * 100_000, "the body is no JSON"),
        (b'{"model": "\\ud800"}', "the body is no JSON"),
        (b"[]", "the body must be a JSON object"),
        (b"3", "the body must be a JSON object"),
        (b"{}", "model: is missing"),
    ],
)
def test_what_is_no_json_object_is_refused(service: Service, raw: bytes, told: str) -> None:
    response = with_client(service, lambda client: client.post("completions", content=raw))
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(told)


def test_paths_and_methods_that_there_are_not_are_told_in_openais_form(service: Service) -> None:
    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.get("nothing"), await client.get("completions")]

    missing, wrong = with_client(service, act)
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert all(r.json()["error"]["type"] == "invalid_request_error" for r in (missing, wrong))
    assert wrong.headers["allow"] == "POST"
