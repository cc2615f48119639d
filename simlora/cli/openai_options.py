"""The options of commands that put requests to somebody's OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from simlora.errors import UserError
from simlora.live.openai_options import (
    CHAT,
    COMPLETIONS,
    DEFAULT_SILENCE_S,
    IDS,
    TEXT,
    ServerOptions,
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--url", help="Of the server, for --engine openai; for example http://gpu:8000."),
    click.option(
        "--api-key",
        envvar="OPENAI_API_KEY",
        help="Sent to the server at --url (default: the environment's OPENAI_API_KEY).",
    ),
    click.option(
        "--model-name-template",
        "model_names",
        metavar="TEXT",
        help="Name of an adapter on the server, with {adapter}, {tenant} or {index} in it "
        "(default: {adapter}).",
    ),
    click.option("--base-model", help="Name of the base model there (default: the scenario's)."),
    click.option(
        "--load-adapters",
        metavar="PATH",
        help="Load the adapters first, by vLLM's /v1/load_lora_adapter, from such paths on the "
        "server; a template as above.",
    ),
    click.option(
        "--endpoint",
        type=click.Choice((COMPLETIONS, CHAT)),
        help="Ask for completions (the default), or for chat completions: the turns of sessions "
        "are then messages.",
    ),
    click.option(
        "--prompts",
        type=click.Choice((IDS, TEXT)),
        help="Send prompts as token ids (the default) or as words (always so for a chat).",
    ),
    click.option(
        "--timeout",
        "silence_s",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        help="A request to which no token comes for so long has failed "
        f"(default: {DEFAULT_SILENCE_S:g}).",
    ),
    click.option(
        "--no-ignore-eos",
        is_flag=True,
        help="Do not send ignore_eos; answers then end where the model ends them.",
    ),
)


def openai_options(command: _Command) -> _Command:
    """Add the options; the command takes them as keyword arguments, for `server_options`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def server_options(wanted: bool, given: dict[str, Any]) -> ServerOptions | None:
    """The options for a server, if one is `wanted`. Raises UserError where they do not go with
    that."""
    chosen = {name: value for name, value in given.items() if value}
    if not wanted:
        chosen.pop("api_key", None)  # the environment's
        if chosen:
            name = next(iter(chosen))
            name = {"model_names": "model_name_template", "silence_s": "timeout"}.get(name, name)
            raise UserError(f"--{name.replace('_', '-')}: goes with --engine openai only")
        return None
    if "url" not in chosen:
        raise UserError("--engine openai: needs --url, the server's address")
    key = chosen.get("api_key", "")
    if not (key.isascii() and key.isprintable()):
        raise UserError("--api-key: must be printable ASCII characters, to be sent in a header")
    chosen["ignore_eos"] = not chosen.pop("no_ignore_eos", False)
    return ServerOptions(**chosen)
