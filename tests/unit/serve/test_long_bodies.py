"""Bodies that are too long, or do not come, cost the others nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from simlora.serve import app
from simlora.serve.bodies import Asked, Message
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


@pytest.mark.parametrize("tokens", [512, 131_072])
def test_the_longest_request_fits_whatever_its_client_escapes(tokens: int) -> None:
    """Ids of six digits on a line each, or text of which JSON escapes every letter."""
    long = {"model": "llama-3.1-8b", "fleet": [{"gpu": "h100-80gb"}]}
    service = Service(scenario(**long, engine={"max_model_len": tokens}))
    ids = json.dumps(completion(prompt=[128_255] * tokens), indent=1)
    words = json.dumps(completion(prompt="привет" * (tokens // 2)))
    assert max(len(ids), len(words)) <= service.openai.most_bytes <= app.MOST_BYTES


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
