"""Whether somebody's server is there, and has what a run needs."""

from __future__ import annotations

from typing import Any

import httpx

from simlora.errors import UserError
from simlora.live.openai_options import Names, ServerOptions

_LOAD_S = 600.0  # for the server to load an adapter


async def prepare(
    client: httpx.AsyncClient, options: ServerOptions, names: Names, adapters: set[int]
) -> None:
    """Load the adapters, if that is asked for, and see that the server is there and has what is
    going to be asked for. Raises UserError."""
    where = f"--url {options.shown_url}"
    if options.load_adapters is not None:
        for index in sorted(adapters):
            body = {"lora_name": names.model(index), "lora_path": names.path(index)}
            response = await _call(client, where, "POST", "load_lora_adapter", json=body)
            # An adapter of that name that is there already is as good.
            if response.status_code != 200 and "already" not in response.text:
                raise UserError(
                    f"{where}: would not load adapter {body['lora_name']} from "
                    f"{body['lora_path']}: {_reason(response)}"
                )
    response = await _call(client, where, "GET", "models")
    if response.status_code in (401, 403):
        raise UserError(f"{where}: does not take the API key: {_reason(response)}")
    known = _models(response)
    wanted = [names.model(index) for index in (-1, *sorted(adapters))]
    missing = [name for name in wanted[1:] if name not in known] if known is not None else []
    if missing:
        raise UserError(
            f'{where}: has no model "{missing[0]}"'
            + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
            + "; see --model-name-template and --load-adapters"
        )


async def _call(
    client: httpx.AsyncClient, where: str, method: str, path: str, **more: Any
) -> httpx.Response:
    try:
        return await client.request(method, path, timeout=_LOAD_S, **more)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{where}: cannot be reached: {reason}") from None


def _models(response: httpx.Response) -> set[str] | None:
    """The names of a server's models; None where it does not tell."""
    try:
        return {str(model["id"]) for model in response.json()["data"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _reason(response: httpx.Response) -> str:
    return f"HTTP {response.status_code} {' '.join(response.text.split())[:200]}".rstrip()
