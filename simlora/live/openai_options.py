"""How a scenario's requests are put to somebody's server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter
from urllib.parse import urlsplit

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment

IDS, TEXT = "ids", "text"
COMPLETIONS, CHAT = "completions", "chat"
PATHS = {COMPLETIONS: "completions", CHAT: "chat/completions"}  # below /v1
DEFAULT_SILENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """`url` is the server's, with or without /v1. `model_names` is the template of an adapter's
    name there, `base_model` the base model's (None: the scenario's). `endpoint` is asked:
    completions, or chat completions, whose prompts are messages. `prompts` are token ids or text
    (None: ids, and text for a chat, which takes nothing else). `load_adapters`: a template of the
    path under which the server finds an adapter's files; with it each is loaded before the run.
    `ignore_eos`: answers are as long as the scenario says, on servers that know the field.
    `silence_s`: a request to which no token comes for so long has failed (None: never).

    Raises UserError for an address, an endpoint or a time that is none, and prompts that do not go
    with the endpoint.
    """

    url: str
    api_key: str | None = None
    model_names: str = "{adapter}"
    base_model: str | None = None
    prompts: str | None = None
    load_adapters: str | None = None
    ignore_eos: bool = True
    endpoint: str = COMPLETIONS
    silence_s: float | None = DEFAULT_SILENCE_S

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.endpoint not in PATHS:
            raise UserError(f"--endpoint: is {self.endpoint!r}, allowed are {', '.join(PATHS)}")
        if self.endpoint == CHAT and self.prompts == IDS:
            raise UserError("--prompts ids: goes with --endpoint completions only")
        if self.silence_s is not None and not self.silence_s > 0:
            raise UserError(f"--timeout: is {self.silence_s:g}, must be more than 0")

    @property
    def shown_url(self) -> str:
        """The address without a password."""
        return _shown(self.url)

    @property
    def as_text(self) -> bool:
        """Whether prompts are sent as text."""
        return self.endpoint == CHAT or self.prompts == TEXT

    @property
    def path(self) -> str:
        """Where requests are sent, below /v1."""
        return PATHS[self.endpoint]


def _check_url(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--url {_shown(url)}: must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise UserError(f"--url {_shown(url)}: the port must be a number from 1 to 65535")
    if not host:
        raise UserError(f"--url {_shown(url)}: names no server")


def _shown(url: str) -> str:
    return re.sub(r"(^|//)[^/?#]*@", r"\1", url)


class Names:
    """What tenants' adapters are called on the server. Raises UserError for a wrong template."""

    def __init__(self, deployment: Deployment, options: ServerOptions) -> None:
        self._deployment = deployment
        self._base = options.base_model or deployment.model.name
        self._model_names = _checked(options.model_names, "--model-name-template")
        self._paths = None
        if options.load_adapters is not None:
            self._paths = _checked(options.load_adapters, "--load-adapters")

    def model(self, adapter: int) -> str:
        """The `model` of a request for an adapter, -1 for the base model."""
        return self._base if adapter < 0 else self._fill(self._model_names, adapter)

    def path(self, adapter: int) -> str | None:
        """Where the server finds an adapter's files."""
        return None if self._paths is None else self._fill(self._paths, adapter)

    def _fill(self, template: str, index: int) -> str:
        adapter = self._deployment.adapters[index]
        tenant = self._deployment.tenants[adapter.tenant].name
        return template.format(adapter=adapter.name, tenant=tenant, index=index)


def _checked(template: str, option: str) -> str:
    allowed = ("adapter", "tenant", "index")
    try:
        fields = {name for _, name, *_ in Formatter().parse(template) if name is not None}
        template.format(adapter="", tenant="", index=0)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        fields = {"?"}
    if not fields <= set(allowed) or not fields:
        raise UserError(
            f"{option}: {template!r} must name the adapter, by one or more of "
            + ", ".join(f"{{{name}}}" for name in allowed)
        )
    return template
