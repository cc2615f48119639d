"""What clients ask for: the bodies of requests, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from reprlib import Repr
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
)
from pydantic.fields import FieldInfo

from simlora.serve.problems import Problem, invalid

MOST_TOKENS = 2**31 - 1
LARGEST_ID = 2**63 - 1  # what there is in a larger number takes long to write out
MOST_MESSAGES = 10_000  # of a chat
MOST_STOPS = 4  # as OpenAI has it
MOST_STOP_CHARS = 1000  # each is looked for with every token
DEFAULT_TOKENS = 16  # of an answer to /v1/completions, as OpenAI has it
_SHOWN = 60  # characters of a value in a message
_SHORT = Repr()  # looks at no more of a large value than is shown
_SHORT.maxstring = _SHORT.maxlong = 2 * _SHOWN

# Of the fields of Changing, 0 asks for the tokens that were chosen, and for no others beside them.
_ASKING_AT_ZERO = frozenset({"logprobs", "prompt_logprobs"})

Count = Annotated[StrictInt, Field(ge=1, le=MOST_TOKENS)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _prompt_of(value: Any) -> str | list[int]:
    """A prompt: a text, token ids, or a list of just one of these."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(
        type(token) is int and -LARGEST_ID <= token <= LARGEST_ID for token in value
    ):
        return value
    raise ValueError("must be one text or one list of token ids")


def _stops_of(value: Any) -> tuple[str, ...]:
    """Texts that end an answer: one, a few, or none."""
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if (
        not isinstance(stops, list)
        or len(stops) > MOST_STOPS
        or not all(isinstance(stop, str) and stop for stop in stops)
    ):
        raise ValueError(f"must be a text, or a list of at most {MOST_STOPS}, none of them empty")
    if any(len(stop) > MOST_STOP_CHARS for stop in stops):
        raise ValueError(f"must have at most {MOST_STOP_CHARS} characters each")
    return tuple(stops)


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


class Changing(BaseModel):
    """Fields of OpenAI and vLLM that change an answer, and that nothing here can follow; with the
    values by which they change nothing. False, null and what is empty do not, either, nor does 0 in
    most."""

    allowed_token_ids: Any = None
    bad_words: Any = None
    best_of: Any = 1
    chat_template: Any = None
    chat_template_kwargs: Any = None
    continue_final_message: Any = None
    documents: Any = None
    echo: Any = None
    frequency_penalty: Any = None
    functions: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    guided_json: Any = None
    guided_regex: Any = None
    include_stop_str_in_output: Any = None
    logit_bias: Any = None
    logprobs: Any = None
    min_p: Any = None
    min_tokens: Any = None
    presence_penalty: Any = None
    prompt_logprobs: Any = None
    repetition_penalty: Any = 1
    response_format: Any = {"type": "text"}
    stop_token_ids: Any = None
    structured_outputs: Any = None
    suffix: Any = None
    tools: Any = None
    top_logprobs: Any = None
    truncate_prompt_tokens: Any = None


class Body(Changing):
    """What both kinds of requests have. Fields that there are not are taken and left alone: nothing
    is made of them, however many there are."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, Field(strict=True, min_length=1)]
    max_tokens: Count | None = None
    n: StrictInt | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_stops_of)] = ()
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=MOST_TOKENS)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    ignore_eos: StrictBool | None = None
    user: Annotated[str, Field(strict=True)] | None = None


class CompletionBody(Body):
    """POST /v1/completions."""

    prompt: Annotated[str | list[int], BeforeValidator(_prompt_of)]


class Message(BaseModel):
    """One turn of a chat."""

    role: Annotated[str, Field(strict=True, min_length=1)]
    content: Annotated[str, BeforeValidator(_text_of)] = ""


class ChatBody(Body):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Count | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its client put it: a `prompt`, or a chat's `messages`. `most` tokens of answer
    (None: as many as there is room for), all of them if `whole`. `seed`: None for any. `changing`:
    a field that is asked for and would change the answer, but is not known here. `user` is OpenAI's
    field of that name."""

    model: str
    prompt: str | list[int] = ""
    messages: tuple[Message, ...] | None = None
    most: int | None = None
    whole: bool = False
    stream: bool = False
    usage: bool = False  # in the stream
    user: str | None = None
    stops: tuple[str, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    seed: int | None = None
    changing: str | None = None

    @property
    def chat(self) -> bool:
        """Whether it was put as a chat."""
        return self.messages is not None


_Body = TypeVar("_Body", bound=Body)


def read_body(raw: bytes, chat: bool) -> Asked:
    """Raises Problem (400) for what is no such body."""
    if chat:
        talk = _parse(ChatBody, raw)
        most = talk.max_completion_tokens or talk.max_tokens
        return _asked(talk, "", tuple(talk.messages), most)
    body = _parse(CompletionBody, raw)
    return _asked(body, body.prompt, None, body.max_tokens or DEFAULT_TOKENS)


def _asked(
    body: Body, prompt: str | list[int], messages: tuple[Message, ...] | None, most: int | None
) -> Asked:
    if body.n not in (None, 1):
        raise invalid(f"n: is {_short(body.n)}, allowed is 1")
    return Asked(
        body.model,
        prompt,
        messages,
        most,
        bool(body.ignore_eos),
        bool(body.stream),
        body.stream_options is not None and bool(body.stream_options.include_usage),
        body.user,
        body.stop,
        1.0 if body.temperature is None else body.temperature,
        1.0 if body.top_p is None else body.top_p,
        max(0, body.top_k or 0),
        body.seed,
        next(
            (name for name, field in Changing.model_fields.items() if _asks(body, name, field)),
            None,
        ),
    )


def _asks(body: Body, name: str, field: FieldInfo) -> bool:
    """Whether a field that may change an answer is there to do so."""
    value = getattr(body, name)
    at_zero = name in _ASKING_AT_ZERO and value == 0 and value is not False
    return (bool(value) or at_zero) and value != field.default


def _parse(kind: type[_Body], raw: bytes) -> _Body:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _problem(error) from None


def _problem(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    # Pydantic tells how many there were; what was given is told below.
    message = message.partition(" after validation")[0]
    message = message[:1].lower() + message[1:]
    if first["type"] == "json_invalid":
        return invalid(f"the body is no JSON: {message.removeprefix('invalid JSON: ')}", "json")
    if first["type"] == "missing":
        return invalid(f"{place}: is missing", "missing")
    if not place:
        return invalid("the body must be a JSON object")
    return invalid(f"{place}: {message}, not {_short(first['input'])}")


def _short(value: Any) -> str:
    text = _SHORT.repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
