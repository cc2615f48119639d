"""The options of commands that put requests to somebody's OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from simlora.errors import UserError
from simlora.live.openai_options import IDS, TEXT, ServerOptions

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
        "--prompts",
        type=click.Choice((IDS, TEXT)),
        help="Send prompts as token ids (the default) or as words.",
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
            name = next(iter(chosen)).replace("model_names", "model_name_template")
            raise UserError(f"--{name.replace('_', '-')}: goes with --engine openai only")
        return None
    if "url" not in chosen:
        raise UserError("--engine openai: needs --url, the server's address")
    if not chosen["url"].startswith(("http://", "https://")):
        raise UserError(f"--url {chosen['url']}: must begin with http:// or https://")
    chosen["ignore_eos"] = not chosen.pop("no_ignore_eos", False)
    return ServerOptions(**chosen)
