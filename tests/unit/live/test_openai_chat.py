"""Prompts of sessions become the turns of a chat."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from simlora.live.openai_chat import ASSISTANT, SYSTEM, USER, Conversations
from simlora.live.openai_options import CHAT, Names, ServerOptions
from simlora.live.openai_prompts import Bodies, Prompts
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.workload.requests import requests_of
from simlora.workload.traffic import open_traffic

BLOCK = 64  # tokens whose content one hash tells, for this model
COMMON, OWN = 2 * BLOCK, BLOCK
SESSIONS = {
    "turns_mean": 4,
    "think_time_s": 2,
    "max_context_tokens": 1500,
    "common_prefix_tokens": COMMON,
    "shared_prefix_tokens": OWN,
}


def asked(sessions: dict[str, Any] | None, count: int) -> list[tuple[Request, dict[str, Any]]]:
    """The first requests of a workload, and what is sent for them."""
    workload: dict[str, Any] = {"rate_rps": 20.0, "duration_s": 60}
    workload |= {"arrivals": {"sessions": sessions}} if sessions else {}
    tenant = {"name": "firm", "count": 3, "adapter": {"rank": 8}}
    deployment = expand(
        Scenario.model_validate(
            {
                "name": "chatting",
                "model": "tiny-llama",
                "fleet": [{"gpu": "a10g"}],
                "tenants": [tenant],
                "workload": workload
                | {
                    "prompt_tokens": {"uniform": {"min": 20, "max": 200}},
                    "output_tokens": {"uniform": {"min": 20, "max": 100}},
                },
            }
        )
    )
    traffic = open_traffic(deployment)
    assert traffic.prefix_block_tokens == BLOCK
    options = ServerOptions("http://x", endpoint=CHAT)
    prompts = Prompts(128_000, 0, traffic.prefix_block_tokens, as_text=options.as_text)
    bodies = Bodies(options, Names(deployment, options), prompts)
    requests = islice(requests_of(deployment, traffic), count)
    return [(request, bodies.body(request)) for request in requests]


def test_without_sessions_a_chat_is_one_message() -> None:
    for request, body in asked(None, 50):
        (message,) = body["messages"]
        assert message["role"] == USER
        assert len(message["content"].split()) == request.prompt_tokens
        assert "prompt" not in body
        assert (body["model"], body["stream"]) == (f"firm-{request.tenant:04d}", True)


def test_every_turn_of_a_session_goes_on_where_the_one_before_ended() -> None:
    last: dict[int, tuple[Request, list[dict[str, str]]]] = {}
    went_on = 0
    for request, body in asked(SESSIONS, 600):
        messages = body["messages"]
        roles = [message["role"] for message in messages]
        assert roles == [SYSTEM, USER, *[ASSISTANT, USER] * (len(roles) // 2 - 1)]
        tokens = [len(message["content"].split()) for message in messages]
        assert sum(tokens) == request.prompt_tokens
        assert tokens[0] == COMMON + OWN
        assert all(tokens)
        before = last.get(request.session)
        if before is not None and len(messages) > 2:
            earlier, told = before
            assert len(messages) == len(told) + 2
            assert tokens[-2] == earlier.output_tokens
            # What was said before a whole block's end is said again, word by word.
            kept = earlier.prompt_tokens // BLOCK * BLOCK
            assert words(messages)[:kept] == words(told)[:kept]
            went_on += 1
        last[request.session] = request, messages
    assert went_on > 100


def test_a_tenants_sessions_begin_alike_and_the_platforms_prompt_is_everybodys() -> None:
    systems: dict[int, set[str]] = {}
    for request, body in asked(SESSIONS, 200):
        systems.setdefault(request.tenant, set()).add(body["messages"][0]["content"])
    assert {len(texts) for texts in systems.values()} == {1}
    (first, second, third) = (next(iter(texts)).split() for texts in systems.values())
    assert first[:COMMON] == second[:COMMON] == third[:COMMON]
    assert len({" ".join(text[COMMON:]) for text in (first, second, third)}) == 3


def words(messages: list[dict[str, str]]) -> list[str]:
    return " ".join(message["content"] for message in messages).split()


@pytest.mark.parametrize(
    ("prompt", "hashes", "turns"),
    [
        (90, [-1, 7, 8, 9, 10], [(SYSTEM, 16), (USER, 30), (ASSISTANT, 50), (USER, 90)]),
        (90, [-1, 99, 98, 97, 96], [(SYSTEM, 16), (USER, 90)]),  # starts over
        (50, [-1, 7, 8], [(SYSTEM, 16), (USER, 50)]),  # has no room for another message
        (90, [-1, 7], [(SYSTEM, 16), (USER, 90)]),  # forgets
        (90, None, [(USER, 90)]),  # shares nothing, so nothing was said before
    ],
)
def test_a_conversation_goes_on_only_if_its_hashes_do(
    prompt: int, hashes: list[int] | None, turns: list[tuple[str, int]]
) -> None:
    conversations = Conversations(16)
    first = Request(0, 0.0, 0, 0, 0, 30, 20, session=3, prefix_hashes=[-1, 7, 8])
    assert conversations.turns(first) == [(SYSTEM, 16), (USER, 30)]
    then = Request(1, 1.0, 0, 0, 0, prompt, 20, session=3, prefix_hashes=hashes)
    assert conversations.turns(then) == turns
