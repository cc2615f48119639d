"""What a client gets for a request that is in order."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from simlora.serve.run import Service
from simlora.serve.words import split
from tests.unit.serve.service import chat, completion, events, post, scenario, with_client


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(scenario())


def test_a_completion_has_as_many_tokens_as_were_asked_for(service: Service) -> None:
    answer = post(service, "completions", completion(max_tokens=9)).json()
    (choice,) = answer["choices"]
    assert len(split(choice["text"])) == len(choice["text"].split()) == 9
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 9
    assert answer["model"] == "pro-0000"
    assert answer["object"] == "text_completion"


def test_without_ignore_eos_the_answer_ends_where_the_scenario_says(service: Service) -> None:
    longer = completion(max_tokens=200, ignore_eos=False)
    answer = post(service, "completions", longer).json()
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["choices"][0]["finish_reason"] == "stop"
    shorter = post(service, "completions", completion(max_tokens=5, ignore_eos=False)).json()
    assert shorter["usage"]["completion_tokens"] == 5
    assert shorter["choices"][0]["finish_reason"] == "length"


def test_streamed_chunks_put_together_are_the_whole_answer(service: Service) -> None:
    response = post(service, "completions", completion(max_tokens=6, stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response)
    assert [len(chunk["choices"]) for chunk in chunks] == [1] * 6
    assert len("".join(chunk["choices"][0]["text"] for chunk in chunks).split()) == 6
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * 5 + ["length"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_an_answers_id_does_not_tell_how_many_others_have_asked(service: Service) -> None:
    first, second = (post(service, "completions", completion()).json()["id"] for _ in range(2))
    assert all(re.fullmatch("cmpl-[0-9a-f]{32}", told) for told in (first, second))
    assert first != second
    assert post(service, "chat/completions", chat()).json()["id"].startswith("chatcmpl-")


def test_a_streamed_chat_begins_with_a_role_and_ends_with_the_usage(service: Service) -> None:
    body = chat(max_tokens=4, stream=True, stream_options={"include_usage": True})
    opening, *tokens, usage = events(post(service, "chat/completions", body))
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len("".join(t["choices"][0]["delta"]["content"] for t in tokens).split()) == 4
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 4
    assert usage["object"] == "chat.completion.chunk"


def test_a_chat_takes_either_name_of_its_limit(service: Service) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        body = {k: v for k, v in chat().items() if k != "max_tokens"} | {limit: 5}
        answer = post(service, "chat/completions", body).json()
        assert answer["usage"]["completion_tokens"] == 5
        assert len(answer["choices"][0]["message"]["content"].split()) == 5


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ("four able word s", 4),
        ("considerable", 3),
        ([5, 6, 7, 8, 9], 5),
        (["one text"], 2),
        ([[1, 2, 3]], 3),
    ],
)
def test_prompts_count_as_texts_and_as_token_ids(
    service: Service, prompt: Any, tokens: int
) -> None:
    answer = post(service, "completions", completion(prompt=prompt)).json()
    assert answer["usage"]["prompt_tokens"] == tokens


def test_the_next_turn_of_a_chat_finds_question_and_answer_cached() -> None:
    service = Service(scenario())
    question = {"role": "user", "content": "word " * 100}

    async def talk(client: httpx.AsyncClient) -> tuple[Any, Any]:
        body = chat(messages=[question], max_tokens=60)
        first = (await client.post("chat/completions", json=body)).json()
        turns = [question, first["choices"][0]["message"], {"role": "user", "content": "go on"}]
        second = await client.post("chat/completions", json=chat(messages=turns))
        return first, second.json()

    first, second = with_client(service, talk)
    total = first["usage"]["total_tokens"]
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    block = service.replica.deployment.scenario.engine.kv_block_tokens
    assert total - 2 * block < cached <= total


def test_models_are_the_base_model_and_the_adapters(service: Service) -> None:
    listed = with_client(service, lambda client: client.get("models")).json()["data"]
    assert [(model["id"], model["parent"]) for model in listed] == [
        ("tiny-llama", None),
        ("pro-0000", "tiny-llama"),
        ("pro-0001", "tiny-llama"),
        ("free-0000/0", "tiny-llama"),
        ("free-0000/1", "tiny-llama"),
    ]


def test_metrics_count_what_was_served() -> None:
    service = Service(scenario())

    async def ask(client: httpx.AsyncClient) -> str:
        for model in ("pro-0000", "pro-0000", "free-0000/1", "tiny-llama"):
            await client.post("completions", json=completion(model=model, max_tokens=4))
        await client.post("completions", json=completion(max_tokens=10_000))
        return (await client.get("http://here/metrics")).text

    lines = dict(
        line.rsplit(" ", 1)
        for line in with_client(service, ask).splitlines()
        if not line.startswith("#")
    )
    model = '{model_name="tiny-llama"}'
    assert float(lines[f"vllm:request_success_total{model}"]) == 4
    assert float(lines[f"vllm:generation_tokens_total{model}"]) == 16
    assert float(lines[f"vllm:time_to_first_token_seconds_count{model}"]) == 4
    assert float(lines[f"vllm:inter_token_latency_seconds_count{model}"]) == 12
    assert float(lines[f"vllm:num_requests_running{model}"]) == 0
    assert float(lines['simlora:adapter_requests_total{adapter="pro-0000"}']) == 2
    assert float(lines['simlora:adapter_requests_total{adapter="tiny-llama"}']) == 1
    assert float(lines['simlora:adapters_resident{tier="hot"}']) == 2
    assert float(lines['simlora:adapter_lookups_total{found="hot"}']) == 1
    assert float(lines["simlora:adapter_loads_total"]) == 2
