"""Prompts of the asked lengths, as token ids, as text or as the messages of a chat."""

from __future__ import annotations

from typing import Any

from simlora.live.openai_chat import Conversations
from simlora.live.openai_options import CHAT, Names, ServerOptions
from simlora.live.tokens import TokenSource
from simlora.serving.request import Request

# Ids below are special in many vocabularies, and so are the last ones.
_FIRST_ID = 1000
# Common words of at most four letters, which tokenizers take for one token each, most of them.
_LIST = """
a all and any as at back be big book but by call can car city come cut dark day door down each eat
end far fast few find five for four from full get give go good hand hard have he help her here high
him his home hot hour how idea if in into is it job just keep kind king know land last late law left
let life like line list live long look lot love low make man many map may me mean meet mind more
most move much must my name near need new next nice no not note now of off old on once one only open
or our out over own page part past pay plan play put rain read real rest rich road room run same say
see set she ship show side sign sit six size slow so some song soon stay step stop such sun sure
take talk team tell ten test than that the them then they this time to too town tree true try turn
two up us use very view wait walk wall want war was way we week well what when who will wind with
word work year yes yet you
"""
_WORDS = tuple(_LIST.split())


class Prompts:
    """Draws prompts by a seed; requests that share a prefix in the scenario share it here."""

    def __init__(self, vocabulary: int, seed: int, block_tokens: int, *, as_text: bool) -> None:
        self._text = as_text
        self._first = min(_FIRST_ID, vocabulary // 4)
        kinds = len(_WORDS) if self._text else max(1, vocabulary // 2)
        self._tokens = TokenSource(kinds, seed, block_tokens)
        self._conversations = Conversations(block_tokens)

    def prompt(self, request: Request) -> str | list[int]:
        """The prompt of a request."""
        drawn = self._drawn(request)
        return _said(drawn) if self._text else [self._first + token for token in drawn]

    def messages(self, request: Request) -> list[dict[str, str]]:
        """The prompt as a chat, its text cut up by who said what. What the assistant said is drawn
        like all else: a request does not wait for the answer to the one before."""
        drawn, messages, begin = self._drawn(request), [], 0
        for role, end in self._conversations.turns(request):
            messages.append({"role": role, "content": _said(drawn[begin:end])})
            begin = end
        return messages

    def _drawn(self, request: Request) -> list[int]:
        tokens: list[int] = self._tokens.script(request).tokens[: request.prompt_tokens].tolist()
        return tokens


def _said(drawn: list[int]) -> str:
    return " ".join([_WORDS[token] for token in drawn])


class Bodies:
    """What is sent for requests, each asked for once and in order of arrival."""

    def __init__(self, options: ServerOptions, names: Names, prompts: Prompts) -> None:
        self._names = names
        self._prompts = prompts
        self._chat = options.endpoint == CHAT
        self._alike: dict[str, Any] = {
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            **({"ignore_eos": True} if options.ignore_eos else {}),
        }

    def body(self, request: Request) -> dict[str, Any]:
        """The body of a request."""
        said = (
            {"messages": self._prompts.messages(request)}
            if self._chat
            else {"prompt": self._prompts.prompt(request)}
        )
        model = self._names.model(request.adapter)
        return {"model": model, **said, "max_tokens": request.output_tokens, **self._alike}
