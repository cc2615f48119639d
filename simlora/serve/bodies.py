"""What clients ask for: the bodies of requests, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, StrictInt, ValidationError

from simlora.serve.problems import Problem, invalid
from simlora.serve.words import split

MOST_TOKENS = 2**31 - 1
DEFAULT_TOKENS = 16  # of an answer to /v1/completions, as OpenAI has it
_SHOWN = 60  # characters of a value in a message

Count = Annotated[StrictInt, Field(ge=1, le=MOST_TOKENS)]


def _tokens_of(value: Any) -> list[str]:
    """The tokens of a prompt: a text, token ids, or a list of just one of these."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, str):
        return split(value)
    if isinstance(value, list) and all(type(token) is int for token in value):
        return list(map(str, value))
    raise ValueError("must be one text or one list of token ids")


def _text_of(value: Any) -> str:
    """The content of a message: a text, parts that are texts, or nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(_is_text(part) for part in value):
        return " ".join(part["text"] for part in value)
    raise ValueError("must be a text, or a list of parts of type text")


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


class StreamOptions(BaseModel):
    """`include_usage`: a last chunk counts the tokens."""

    include_usage: StrictBool | None = None


class Body(BaseModel):
    """What both kinds of requests have. Fields that change no timing are taken and left alone."""

    model: Annotated[str, Field(strict=True, min_length=1)]
    max_tokens: Count | None = None
    n: StrictInt | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: StrictBool | None = None
    user: Annotated[str, Field(strict=True)] | None = None


class CompletionBody(Body):
    """POST /v1/completions."""

    prompt: Annotated[list[str], BeforeValidator(_tokens_of)]


class Message(BaseModel):
    """One turn of a chat."""

    role: Annotated[str, Field(strict=True, min_length=1)]
    content: Annotated[str, BeforeValidator(_text_of)] = ""


class ChatBody(Body):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Count | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its client put it. `most` tokens of answer (None: as many as there is room for),
    all of them if `whole`. `user` is OpenAI's field of that name."""

    model: str
    prompt: list[str]
    most: int | None
    whole: bool
    stream: bool
    usage: bool  # in the stream
    chat: bool
    user: str | None


_Body = TypeVar("_Body", bound=Body)


def read_body(raw: bytes, chat: bool) -> Asked:
    """Raises Problem (400) for what is no such body."""
    if chat:
        talk = _parse(ChatBody, raw)
        prompt: list[str] = []
        for message in talk.messages:
            # What a chat template puts around a turn.
            prompt += [f"<{message.role}>", *split(message.content)]
        prompt.append("<assistant>")
        return _asked(talk, prompt, talk.max_completion_tokens or talk.max_tokens, chat=True)
    body = _parse(CompletionBody, raw)
    if not body.prompt:
        raise invalid("prompt: has no tokens; give at least one")
    return _asked(body, body.prompt, body.max_tokens or DEFAULT_TOKENS, chat=False)


def _asked(body: Body, prompt: list[str], most: int | None, *, chat: bool) -> Asked:
    if body.n not in (None, 1):
        raise invalid(f"n: is {_short(body.n)}, allowed is 1")
    usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    return Asked(
        body.model,
        prompt,
        most,
        bool(body.ignore_eos),
        bool(body.stream),
        usage,
        chat,
        body.user,
    )


def _parse(kind: type[_Body], raw: bytes) -> _Body:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _problem(error) from None


def _problem(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] == "json_invalid":
        return invalid(f"the body is no JSON: {message.removeprefix('invalid JSON: ')}", "json")
    if first["type"] == "missing":
        return invalid(f"{place}: is missing", "missing")
    if not place:
        return invalid("the body must be a JSON object")
    return invalid(f"{place}: {message}, not {_short(first['input'])}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
