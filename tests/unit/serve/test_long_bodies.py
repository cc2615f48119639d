"""Bodies that are too long, or do not come, cost the others nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import httpx
import pytest

from simlora.serve import app
from simlora.serve.bodies import MOST_MESSAGES, Asked, CompletionBody, Message
from simlora.serve.json_size import count_values
from simlora.serve.problems import Problem
from simlora.serve.run import Service
from simlora.serve.text import Wordwise
from simlora.serve.tokenizer import Tokenized, open_text
from simlora.serve.words import chat_words, split
from tests.unit.serve.embedding import VOCABULARY, tokenizer, write_texts
from tests.unit.serve.service import chat, completion, post, scenario, with_client

PART = 2**12  # bytes


@pytest.fixture
def service() -> Service:
    return Service(scenario())


class Upload:
    """A body in parts, which knows how much of it has been read."""

    def __init__(self, nbytes: int) -> None:
        self.read = 0
        self._nbytes = nbytes

    async def parts(self) -> AsyncIterator[bytes]:
        while self.read < self._nbytes:
            self.read += PART
            yield b" " * PART


def error(response: httpx.Response) -> tuple[int, str]:
    """The status and the code of an error."""
    return response.status_code, response.json()["error"]["code"]


# --- bodies --------------------------------------------------------------------------------


def test_a_body_too_long_to_be_meant_is_not_read_to_its_end(service: Service) -> None:
    most = service.openai.most_bytes
    body = Upload(4 * most)
    response = with_client(service, lambda c: c.post("completions", content=body.parts()))
    assert error(response) == (413, "too_large")
    assert most < body.read <= most + PART
    assert response.headers["connection"] == "close"


def test_a_body_that_says_that_it_is_too_long_is_not_read_at_all(service: Service) -> None:
    body = Upload(2**30)
    told = {"content-length": "40000000"}
    response = with_client(
        service, lambda c: c.post("completions", content=body.parts(), headers=told)
    )
    assert error(response) == (413, "too_large")
    assert body.read == 0


def test_a_body_that_stops_coming_is_not_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "BODY_S", 0.01)

    async def half() -> AsyncIterator[bytes]:
        yield b'{"model": "pro-0000", '
        await asyncio.Event().wait()

    response = with_client(service, lambda c: c.post("completions", content=half()))
    assert error(response) == (408, "body_timeout")
    assert response.headers["connection"] == "close"


def with_room_for(tokens: int) -> Service:
    """A server whose requests may have so many tokens."""
    long = {"model": "llama-3.1-8b", "fleet": [{"gpu": "h100-80gb"}]}
    return Service(scenario(**long, engine={"max_model_len": tokens}))


@pytest.mark.parametrize("tokens", [512, 131_072])
def test_the_longest_request_fits_whatever_its_client_escapes(tokens: int) -> None:
    """Ids of six digits on a line each, or text of which JSON escapes every letter."""
    service = with_room_for(tokens)
    ids = json.dumps(completion(prompt=[128_255] * tokens), indent=1)
    words = json.dumps(completion(prompt="привет" * (tokens // 2)))
    assert max(len(ids), len(words)) <= service.openai.most_bytes <= app.MOST_BYTES
    assert count_values(ids.encode()) <= service.openai.most_values(chat=False)


@pytest.mark.parametrize("unit", ["[]", "{}", "1", '"a"', '{"role":"user"}'])
@pytest.mark.parametrize("field", ["prompt", "messages", "stop", "unknown"])
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_body_with_more_in_it_than_a_request_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch, unit: str, field: str, path: str
) -> None:
    """While it is, nobody else would be served."""
    service = with_room_for(131_072)
    most = service.openai.most_values(path.startswith("chat"))
    body = f'{{"model": "pro-0000", "{field}": [{",".join([unit] * most)}]}}'.encode()
    assert len(body) <= service.openai.most_bytes

    def parse(*_: Any) -> Asked:
        raise AssertionError("it is parsed")

    monkeypatch.setattr(app, "read_body", parse)
    response = post(service, path, None, content=body)
    assert error(response) == (413, "too_large")
    assert response.json()["error"]["message"] == f"the body has more than {most} JSON values"


def test_of_fields_that_nobody_knows_nothing_is_made() -> None:
    raw = json.dumps(completion(unknown={str(number): [] for number in range(1000)}))
    body = CompletionBody.model_validate_json(raw)
    assert not body.model_extra
    assert "unknown" not in body.model_dump()


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_text_may_be_full_of_what_json_is_made_of(path: str) -> None:
    text = '[{," ' * 100_000
    body = completion(prompt=text)
    if path.startswith("chat"):
        body = chat(messages=[{"role": "user", "content": text}])
    service = with_room_for(131_072)
    assert sum(map(text.count, "[{,")) > service.openai.most_values(path.startswith("chat"))
    assert post(service, path, body).status_code == 200


def test_the_longest_chat_fits_whatever_its_messages_are_made_of() -> None:
    parts = [{"type": "text", "text": "a"}]
    messages = [{"role": "user", "name": "n", "content": parts}] * MOST_MESSAGES
    response = post(with_room_for(131_072), "chat/completions", chat(messages=messages))
    assert response.status_code == 200


def test_few_long_bodies_are_read_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each thread that reads one takes its turn before anybody else is served again."""
    reading, most_reading, lock, pair = 0, 0, Lock(), Barrier(2, timeout=30)
    read_body = app.read_body

    def slowly(raw: bytes, chat: bool) -> Asked:
        nonlocal reading, most_reading
        with lock:
            reading += 1
            most_reading = max(most_reading, reading)
        pair.wait()
        with lock:
            reading -= 1
        return read_body(raw, chat)

    monkeypatch.setattr(app, "read_body", slowly)
    body = completion(user="a" * app.LONG_BYTES)

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("completions", json=body) for _ in range(12)))

    assert {response.status_code for response in with_client(service, act)} == {200}
    assert 1 < most_reading <= app.BODY_THREADS


# --- prompts -------------------------------------------------------------------------------


def test_ids_that_are_too_many_are_refused_unseen(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Asked] = []
    monkeypatch.setattr(service.replica, "encode", seen.append)
    response = post(service, "completions", completion(prompt=[1] * 600))
    assert error(response) == (400, "context_length_exceeded")
    assert "at least 603 tokens, allowed are 512" in response.json()["error"]["message"]
    assert not seen


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", completion(prompt="a " * 5000)),
        ("chat/completions", chat(messages=[{"role": "user", "content": "a " * 5000}])),
        ("chat/completions", chat(messages=[{"role": "user"}] * 5000)),
    ],
)
def test_texts_that_are_too_long_are_split_just_far_enough_to_know(
    service: Service, path: str, body: dict[str, Any]
) -> None:
    response = post(service, path, body)
    assert error(response) == (400, "context_length_exceeded")
    assert "at least 516 tokens, allowed are 512" in response.json()["error"]["message"]


def test_no_more_words_are_made_than_are_asked_for() -> None:
    text = "one two three four"
    turns = [Message(role="user", content=text)] * 3
    assert [len(split(text, most)) for most in (1, 3, 4, 9)] == [2, 4, 5, 5]
    assert split(text) == split(text, 9)
    assert chat_words(turns) == chat_words(turns, 19)
    for most in range(20):
        assert chat_words(turns, most) == chat_words(turns)[: most + 1]
    assert len(Wordwise(VOCABULARY).prompt(text, 2)) == 3


def test_a_text_longer_than_the_longest_tokens_is_refused_before_it_is_tokenized(
    tmp_path: Path,
) -> None:
    made = write_texts(tmp_path)
    longest = max(map(len, made.get_vocab()))
    text = open_text(tmp_path, VOCABULARY)
    assert isinstance(text, Tokenized)
    fits, long = "a" * (10 * longest), "a" * (10 * longest + 1)
    assert len(text.prompt(fits, 10)) > 10
    with pytest.raises(Problem, match=rf"^prompt: has {10 * longest + 1} characters") as told:
        text.prompt(long, 10)
    assert (told.value.status, told.value.code) == (400, "context_length_exceeded")
    with pytest.raises(Problem, match=r"^messages: has \d+ characters"):
        text.chat([Message(role="user", content=long)], 10)


def test_a_text_of_as_many_tokens_as_fit_is_taken_whatever_they_are(tmp_path: Path) -> None:
    """The longest of the vocabulary, one after the other."""
    made = tokenizer()
    write_texts(tmp_path)
    text = open_text(tmp_path, VOCABULARY)
    token = max(made.get_vocab(), key=len)
    number = made.token_to_id(token)
    assert number is not None
    words = made.decode([number] * 9)
    assert len(text.prompt(words, 10)) <= 10
