"""Chat templates: how a model was trained to see a conversation, as Hugging Face renders it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.scenario.catalog.huggingface import read_json
from simlora.serve.bodies import Message
from simlora.serve.problems import invalid

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.nodes import Node
    from jinja2.parser import Parser

CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"
_LARGEST_BYTES = 20_000_000  # of a tokenizer's config: it may list many added tokens
_MOST_TOLD = 200  # characters of a template's complaint


class ChatTemplate:
    """A template, and the special tokens that it may name (`bos_token` and the like)."""

    def __init__(self, template: Template, tokens: Mapping[str, str]) -> None:
        self._template = template
        self._tokens = tokens

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a conversation, up to where the assistant's answer begins. Raises Problem
        (400) with what the template says against it."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._template.render(
                messages=turns,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._tokens,
            )
        except Exception as error:  # a template may fail in any way on what it was not made for
            reason = " ".join(str(error).split())[:_MOST_TOLD]
            raise invalid(
                f"messages: the model's chat template does not take them: {reason}"
            ) from None


def load_chat_template(folder: Path) -> ChatTemplate | None:
    """The template of a model's folder: `chat_template.jinja`, or `chat_template` in its
    `tokenizer_config.json` (of several the one called `default`); None if it has none. Raises
    UserError for files that cannot be used."""
    config: dict[str, Any] = {}
    path = folder / CONFIG
    if path.is_file():
        config = read_json(path, f"a {CONFIG}", _LARGEST_BYTES)
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {each.get("name"): each for each in source if isinstance(each, dict)}
        source = named.get("default", {}).get("template")
    if (folder / TEMPLATE).is_file():
        path = folder / TEMPLATE
        try:
            source = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
    if source is None:
        return None
    if not isinstance(source, str):
        raise UserError(f"{path}: chat_template must be a text, or a list of named ones")
    return ChatTemplate(_compiled(source, path), dict(_special_tokens(config)))


def _compiled(source: str, path: Path) -> Template:
    try:
        from jinja2 import TemplateError
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: its chat template needs the package jinja2; pip install 'simlora[serve]'"
        ) from None

    class Generation(Extension):
        """{% generation %} marks for training what an assistant said; here it is only read over."""

        tags = {"generation"}  # noqa: RUF012 as jinja2 declares it

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise UserError(f"{path}: the chat template is no template: {error}") from None


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes what HTML would read otherwise.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _special_tokens(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The tokens that a config names, by its names for them."""
    named = []
    for name, value in config.items():
        token = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(token, str):
            named.append((name, token))
    return named
