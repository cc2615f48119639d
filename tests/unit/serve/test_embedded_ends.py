"""Where answers of the real engine end, and how their tokens are chosen."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from simlora.serve.run import Service
from simlora.serve.text import Wordwise
from tests.unit.serve.embedding import (
    VOCABULARY,
    completion,
    engine,
    replica_of,
    scenario,
    service,
    text_of,
    write_config,
)
from tests.unit.serve.service import events, with_client

PROMPT = [3, 14, 15, 92, 65]


def replies(served: Service, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers to requests one after the other."""

    async def act(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        return [(await client.post("completions", json=body)).json() for body in bodies]

    return with_client(served, act)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the model says to PROMPT, a word for each token, none of them twice."""
    folder = write_config(tmp_path_factory.mktemp("says"))
    (reply,) = replies(service(scenario(folder)), completion(PROMPT, max_tokens=10))
    words = text_of(reply).split()
    assert len(set(words)) == len(words) == 10
    return words


@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_token_that_ends_answers_does_unless_it_is_ignored(
    place: int, words: list[str], tmp_path: Path
) -> None:
    """The first, one in the middle and the last that was asked for."""
    (end,) = Wordwise(VOCABULARY).prompt(words[place])
    write_config(tmp_path, eos_token_id=[VOCABULARY - 1, end])
    ended, ignored = replies(
        service(scenario(tmp_path)),
        completion(PROMPT, max_tokens=10, ignore_eos=False),
        completion(PROMPT, max_tokens=10),
    )
    assert text_of(ended).split() == words[:place]
    assert ended["choices"][0]["finish_reason"] == "stop"
    assert ended["usage"]["completion_tokens"] == place + 1
    assert text_of(ignored).split() == words
    assert ignored["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_ends_an_answer_and_is_not_in_it(
    stream: bool, words: list[str], tmp_path: Path
) -> None:
    """Also one that begins in one token and ends in another."""
    served = service(scenario(write_config(tmp_path)))
    body = completion(PROMPT, max_tokens=10, stream=stream)
    body |= {"stop": ["never", f"{words[3][-1]} {words[4][:2]}"]}

    async def act(client: httpx.AsyncClient) -> tuple[str, str]:
        response = await client.post("completions", json=body)
        choices = [chunk["choices"][0] for chunk in events(response)] if stream else []
        choices = choices or response.json()["choices"]
        return "".join(c["text"] for c in choices), choices[-1]["finish_reason"]

    text, reason = with_client(served, act)
    assert text == " ".join(words[:4])[:-1]
    assert reason == "stop"
    assert replica_of(served).server.steps < 10


def test_an_early_end_makes_room_for_who_waits(words: list[str], tmp_path: Path) -> None:
    """Of many who ask for all that there is room for, and who get little, nobody waits long."""
    (end,) = Wordwise(VOCABULARY).prompt(words[3])
    folder = write_config(tmp_path, eos_token_id=end)
    served = service(scenario(folder, engine=engine(max_num_seqs=2)))
    body = completion(PROMPT, max_tokens=120, ignore_eos=False)

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("completions", json=body) for _ in range(12)))

    for response in with_client(served, act):
        assert text_of(response.json()).split() == words[:3]
    replica = replica_of(served)
    assert replica.server.steps < 60
    assert f'vllm:generation_tokens_total{{model_name="{folder.name}"}} 48.0' in (
        served.metrics.text().decode()
    )


def test_the_same_seed_gives_the_same_answer_in_whatever_company(tmp_path: Path) -> None:
    """Alone, and among others in a pool too small for all of them, who are preempted."""
    sampled = [
        completion([9, n], max_tokens=60, temperature=1.2, top_p=0.95, top_k=100, seed=n % 3 - 1)
        for n in range(9)
    ]
    alone = replies(service(scenario(write_config(tmp_path))), *sampled)
    small = engine(memory={"kv_cache_tokens": 320}, prefix_cache={"enabled": False})
    crowded = service(scenario(tmp_path, engine=small))

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("completions", json=body) for body in sampled))

    together = [response.json() for response in with_client(crowded, act)]
    assert [text_of(reply) for reply in together] == [text_of(reply) for reply in alone]
    assert replica_of(crowded).server.scheduler.preemptions > 0
    assert len({text_of(reply) for reply in alone}) == 9


def test_what_is_not_asked_for_is_chosen_as_openai_does(tmp_path: Path) -> None:
    """Temperature 1 and a seed of its own for each request; 0, or one token to choose from, is the
    likeliest."""
    plain = {"model": "tenant-0000", "prompt": PROMPT, "max_tokens": 30, "ignore_eos": True}
    bodies = [
        plain,
        plain,
        plain | {"seed": 7},
        plain | {"seed": 7, "temperature": 1.0, "top_p": 1, "top_k": 0},
        plain | {"temperature": 0},
        plain | {"top_k": 1},
        plain | {"top_p": 1e-9},
        plain | {"seed": -7},
    ]
    texts = [text_of(r) for r in replies(service(scenario(write_config(tmp_path))), *bodies)]
    assert texts[0] != texts[1]
    assert texts[2] == texts[3] != texts[7]
    assert texts[4] == texts[5] == texts[6]


def test_the_length_that_was_asked_for_ends_an_answer_and_else_the_models(tmp_path: Path) -> None:
    served = service(scenario(write_config(tmp_path)))
    messages = [{"role": "user", "content": "go"}]
    body = {"model": "tenant-0000", "messages": messages, "ignore_eos": True}

    async def act(client: httpx.AsyncClient) -> list[dict[str, Any]]:
        short = await client.post("chat/completions", json=body | {"max_completion_tokens": 5})
        return [short.json(), (await client.post("chat/completions", json=body)).json()]

    short, long = with_client(served, act)
    assert short["usage"]["completion_tokens"] == 5
    assert long["usage"]["total_tokens"] == 128
    reasons = [reply["choices"][0]["finish_reason"] for reply in (short, long)]
    assert reasons == ["length", "length"]
