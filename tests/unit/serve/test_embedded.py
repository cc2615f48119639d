"""Clients of the real engine get what the model says, and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from simlora.serve.run import Service
from simlora.serving.page_pool import KV
from tests.unit.serve.embedding import (
    VOCABULARY,
    chat,
    completion,
    engine,
    replica_of,
    scenario,
    service,
    text_of,
    tokenizer,
    write_config,
    write_texts,
)
from tests.unit.serve.service import bearer, events, keys_of, post, until, with_client

PROMPTS = ("how are you", "the cat sat on the mat", "café", "日本語 and 🙂", "a", "naïve today how")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with weights and a tokenizer."""
    from tests.verification.hf_models import ModelCase, write_model

    folder = tmp_path_factory.mktemp("trained") / "model"
    config = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None}
    write_model(ModelCase("Llama", config), folder, seed=5)
    write_texts(folder)
    return folder


def streamed(response: httpx.Response) -> str:
    """The text of a stream, which must say at its end why it ends, and not before."""
    choices = [chunk["choices"][0] for chunk in events(response)]
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] in ("length", "stop")
    return "".join(choice["text"] for choice in choices)


def test_answers_are_those_of_transformers_whatever_is_served_beside_them(trained: Path) -> None:
    """Twenty-four at once, streamed or not, by the base model and by four adapters."""
    from tests.verification.hf_models import Truth

    asked = scenario(trained, adapters={"initial_tier": "store", "store": {"latency_s": 0.0}})
    served = service(asked)
    replica, made = replica_of(served), tokenizer()
    truth = Truth(trained, [replica.directory / "store" / str(index) for index in range(4)])
    names = {None: "model"} | {index: f"tenant-{index:04}" for index in range(4)}
    cases = [(PROMPTS[n % 6], list(names)[n % 5], 6 + n % 9, bool(n % 2)) for n in range(24)]

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        bodies = [
            completion(prompt, model=names[adapter], max_tokens=count, stream=stream)
            for prompt, adapter, count, stream in cases
        ]
        return await asyncio.gather(*(client.post("completions", json=body) for body in bodies))

    responses = with_client(served, act)
    said = set()
    for (prompt, adapter, count, stream), response in zip(cases, responses, strict=True):
        expected = made.decode(truth.greedy(made.encode(prompt).ids, count, adapter))
        text = streamed(response) if stream else text_of(response.json())
        assert text == expected.rstrip("\ufffd"), (prompt, adapter)
        said.add((prompt, text))
    assert len(said) > len(PROMPTS)  # adapters matter
    assert replica.server.scheduler.tiers.stats.loads == 4


def test_a_chat_is_what_the_models_template_makes_of_it(trained: Path) -> None:
    from tests.verification.hf_models import transformers

    served = service(scenario(trained))
    body = chat("how are you", "the cat", "naïve", stream=False)
    fast = transformers.AutoTokenizer.from_pretrained(trained)
    ids = fast.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)

    async def act(client: httpx.AsyncClient) -> list[Any]:
        talk = await client.post("chat/completions", json=body)
        plain = await client.post("completions", json=completion(ids))
        return [talk.json(), plain.json()]

    talk, plain = with_client(served, act)
    assert talk["usage"]["prompt_tokens"] == len(ids) == plain["usage"]["prompt_tokens"]
    assert text_of(talk) == text_of(plain) != ""


def test_a_model_without_a_chat_template_takes_completions_only(tmp_path: Path) -> None:
    write_texts(write_config(tmp_path), template=None)
    served = service(scenario(tmp_path))

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        talk = await client.post("chat/completions", json=chat("how are you"))
        return [talk, await client.post("completions", json=completion())]

    talk, plain = with_client(served, act)
    assert (talk.status_code, plain.status_code) == (400, 200)
    assert "no chat template" in talk.json()["error"]["message"]


def test_what_a_template_does_not_take_is_the_clients_mistake(tmp_path: Path) -> None:
    write_texts(write_config(tmp_path))
    served = service(scenario(tmp_path))
    robot = chat("how are you") | {"messages": [{"role": "robot", "content": "beep"}]}
    response = post(served, "chat/completions", robot)
    assert response.status_code == 400
    assert "no robots" in response.json()["error"]["message"]


def test_without_a_tokenizer_answers_are_words_that_prompts_may_have() -> None:
    """Of a catalog model, whose weights are random; both are said. What was answered comes back in
    the next turn's prompt as the same tokens, and is found cached."""
    notes: list[str] = []
    served = service(scenario("tiny-llama", engine=engine(max_model_len=256)), notes=notes)
    assert any("its weights are random" in note for note in notes)
    assert any("one word for each token id" in note for note in notes)

    async def act(client: httpx.AsyncClient) -> tuple[Any, Any]:
        question = "word " * 20
        first = (await client.post("chat/completions", json=chat(question, max_tokens=40))).json()
        again = chat(question, text_of(first), "go on")
        return first, (await client.post("chat/completions", json=again)).json()

    first, second = with_client(served, act)
    assert len(text_of(first).split()) == 40
    total = first["usage"]["total_tokens"]
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert total - 8 < cached <= total


def test_generated_tokens_are_cached_as_what_was_said(trained: Path) -> None:
    """A prompt that goes on where an answer ended finds it, and is answered as if it had not."""
    from tests.verification.hf_models import Truth

    start = [5, 6, 7, 8, 9, 10, 11]
    said = Truth(trained, []).greedy(start, 29, None)
    served = service(scenario(trained, tenants=[{"name": "tenant", "adapters": 0}]))

    async def act(client: httpx.AsyncClient) -> list[Any]:
        first = completion(start, max_tokens=21, model="model")
        again = completion([*start, *said[:21]], model="model")
        return [(await client.post("completions", json=body)).json() for body in (first, again)]

    _, second = with_client(served, act)
    # All but the last token of the answer have been computed, and of them whole blocks are kept.
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] == 24
    assert text_of(second) == tokenizer().decode(said[21:]).rstrip("\ufffd")


@pytest.mark.parametrize(("isolation", "shared"), [("adapter", False), ("shared", True)])
def test_a_prompt_is_found_cached_by_those_whom_the_scenario_lets(
    isolation: str, shared: bool, tmp_path: Path
) -> None:
    cache = {"enabled": True, "isolation": isolation}
    asked = scenario(write_config(tmp_path), engine=engine(prefix_cache=cache))
    served = service(asked)
    prompt = list(range(40))

    async def act(client: httpx.AsyncClient) -> list[int]:
        cached = []
        for model in ("tenant-0000", "tenant-0001", "tenant-0000"):
            reply = await client.post("completions", json=completion(prompt, model=model))
            cached.append(reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
        return cached

    assert with_client(served, act) == [0, 36 if shared else 0, 36]


def test_keys_models_and_metrics_are_as_with_simulated_timing(tmp_path: Path) -> None:
    keys = keys_of(first=0, second=1, operator=None)
    served = service(scenario(write_config(tmp_path)), keys)

    async def act(client: httpx.AsyncClient) -> tuple[list[int], list[str], str]:
        statuses = []
        for key, model in (
            ("first", "tenant-0000"),
            ("second", "tenant-0000"),
            ("first", "nobody"),
            ("nobody", "tenant-0000"),
        ):
            body = completion([1, 2, 3], model=model, max_tokens=4)
            response = await client.post("completions", json=body, headers=bearer(key))
            statuses.append(response.status_code)
        listed = (await client.get("models", headers=bearer("first"))).json()["data"]
        metrics = await client.get("http://here/metrics", headers=bearer("operator"))
        return statuses, [model["id"] for model in listed], metrics.text

    statuses, models, metrics = with_client(served, act)
    assert statuses == [200, 404, 404, 401]
    assert models == [tmp_path.name, "tenant-0000"]
    label = f'{{model_name="{tmp_path.name}"}}'
    assert f"vllm:request_success_total{label} 1.0" in metrics
    assert f"vllm:generation_tokens_total{label} 4.0" in metrics
    assert f"vllm:inter_token_latency_seconds_count{label} 3.0" in metrics
    assert 'simlora:adapter_requests_total{adapter="tenant-0000"} 1.0' in metrics


def test_limits_of_the_gateway_hold(tmp_path: Path) -> None:
    limits = {"rate_limits": {"standard": {"rps": 0.01, "burst": 1}}}
    served = service(scenario(write_config(tmp_path), gateway=limits))

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("completions", json=completion([1, 2])) for _ in range(2)]

    answered, refused = with_client(served, act)
    assert (answered.status_code, refused.status_code) == (200, 429)
    assert float(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"gateway": {"timeouts_s": {"standard": 0.05}}}, 504, "timeout"),
        ({"adapters": {"cold_start": "reject", "retry_after_s": 0.5}}, 503, "cold_start"),
        ({"gateway": {"admission": {"max_queue": {"standard": 0}}}}, 503, "overloaded"),
    ],
)
def test_what_the_scenario_turns_away_is_told_and_leaves_nothing(
    changes: dict[str, Any], status: int, code: str, tmp_path: Path
) -> None:
    folder = write_config(tmp_path, max_position_embeddings=4096)
    options = engine(max_model_len=4096, max_num_seqs=2, memory={"kv_cache_tokens": 20_000})
    served = service(scenario(folder, engine=options, **changes))

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        body = completion([1, 2, 3], max_tokens=4000 if code == "timeout" else 200)
        return await asyncio.gather(*(client.post("completions", json=body) for _ in range(5)))

    refused = [response for response in with_client(served, act) if response.status_code != 200]
    assert {response.status_code for response in refused} == {status}
    assert {response.json()["error"]["code"] for response in refused} == {code}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prompt": [VOCABULARY]}, "prompt: token id 320 is not in the model's vocabulary of 320"),
        ({"prompt": [-1]}, "prompt: token id -1"),
        ({"prompt": [2**63 - 1]}, "prompt: token id 9223372036854775807 is not in"),
        ({"prompt": [2**63]}, "prompt: must be one text or one list of token ids, not [9223372"),
        ({"prompt": ""}, "prompt: has no tokens"),
        ({"prompt": "word " * 200}, "prompt and answer have at least 137 tokens, allowed are 128"),
        ({"temperature": -0.1}, "temperature: "),
        ({"temperature": 2.1}, "temperature: "),
        ({"temperature": "1"}, "temperature: "),
        ({"top_p": 0}, "top_p: "),
        ({"top_p": 1.01}, "top_p: "),
        ({"top_k": -2}, "top_k: "),
        ({"top_k": 1.5}, "top_k: "),
        ({"seed": 2**63}, "seed: "),
        ({"stop": ["a"] * 5}, "stop: must be a text, or a list of at most 4"),
        ({"stop": ""}, "stop: "),
        ({"stop": [3]}, "stop: "),
        ({"logprobs": 5}, "logprobs: is not supported"),
        ({"logprobs": 0}, "logprobs: is not supported"),
        ({"prompt_logprobs": 0}, "prompt_logprobs: is not supported"),
        ({"logit_bias": {"3": 10}}, "logit_bias: is not supported"),
        ({"tools": [{"type": "function"}]}, "tools: is not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty: is not supported"),
    ],
)
def test_what_the_engine_cannot_do_is_told_by_field(
    refusing: Service, change: dict[str, Any], told: str
) -> None:
    """And nothing of it is left on the server."""
    raw = json.dumps(completion([1, 2, 3]) | change)

    async def act() -> httpx.Response:
        transport = httpx.ASGITransport(refusing.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here/v1/") as client:
            return await client.post("completions", content=raw)

    response = asyncio.run(act())
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(told)
    assert not refusing.replica.answers


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """One whose engine never has to run."""
    return service(scenario(write_config(tmp_path_factory.mktemp("refusing"))))


def test_fields_that_change_nothing_are_taken(tmp_path: Path) -> None:
    """Whatever they are for others, these values of them are how answers are here."""
    served = service(scenario(write_config(tmp_path)))
    same: dict[str, Any] = {
        "logprobs": None,
        "prompt_logprobs": False,
        "min_tokens": 0,
        "best_of": 1,
        "echo": False,
        "repetition_penalty": 1.0,
        "top_k": -1,
    }
    same |= {"response_format": {"type": "text"}, "presence_penalty": 0.0, "stop": None, "x": 1}

    async def act(client: httpx.AsyncClient) -> list[str]:
        bodies = [completion([1, 2, 3]), completion([1, 2, 3], **same)]
        return [text_of((await client.post("completions", json=b)).json()) for b in bodies]

    plain, told = with_client(served, act)
    assert plain == told != ""


def test_a_server_that_has_served_for_long_keeps_nothing_of_it(tmp_path: Path) -> None:
    cache = {"enabled": False}
    served = service(scenario(write_config(tmp_path), engine=engine(prefix_cache=cache)))
    replica = replica_of(served)

    async def act(client: httpx.AsyncClient) -> None:
        for _ in range(30):
            body = completion([1, 2, 3], max_tokens=20, stop=["zzz"])
            assert (await client.post("completions", json=body)).status_code == 200
        await until(lambda: not replica.answers)

    with_client(served, act)
    server = replica.server
    assert not (server.decisions.lines or server.orders or server.timers)
    assert not (replica.mirror.scripts or replica.mirror.sequences)
    assert len(replica._tokens._prompts) == len(replica._spoken) == len(replica._ended) == 0
    assert server.scheduler.memory.pool.held[KV] == 0
    assert not replica.directory.exists()
