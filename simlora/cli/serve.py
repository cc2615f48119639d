"""`simlora serve`: an OpenAI-compatible server, with simulated timing or over the real engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simlora.cli.options import engine_options, setting_option
from simlora.errors import UserError
from simlora.scenario.loading import load_scenario, parse_setting, with_place
from simlora.scenario.schema import Scenario

if TYPE_CHECKING:
    from simlora.serve.run import Service

SIMULATED, EMBEDDED = "simulated", "embedded"
# Without a scenario: ten tenants, on an H100 or, computed, with a model that any machine runs.
_DEFAULT = {
    "name": "serve",
    "model": "llama-3.1-8b",
    "fleet": [{"gpu": "h100-80gb"}],
    "tenants": [{"name": "tenant", "count": 10, "adapter": {"rank": 16}}],
    "workload": {"rate_rps": 1.0},
}
_SMALL = {
    "model": "tiny-llama",
    "fleet": [{"gpu": "cpu"}],
    "engine": {"max_model_len": 2048, "memory": {"kv_cache_tokens": 16_384}},
}


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path), required=False)
@click.option(
    "--engine",
    type=click.Choice((SIMULATED, EMBEDDED)),
    default=SIMULATED,
    help="What answers: nothing but the timing model, with made-up words (the default), or "
    "simlora's own engine in this process.",
)
@engine_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--api-keys",
    type=click.Path(path_type=Path),
    help="YAML or JSON file: a tenant's name to the hash of its API key (or to several).",
)
@click.option(
    "--new-key", metavar="TENANT", help='Print a new API key and its hash ("*": for all).'
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0, max=86_400),
    default=30.0,
    show_default=True,
    help="Seconds that requests under way have after SIGTERM.",
)
@setting_option("engine.max_num_seqs=64")
def serve(
    scenario: Path | None,
    engine: str,
    device: str | None,
    registry: Path | None,
    trusted: Path | None,
    host: str,
    port: int,
    api_keys: Path | None,
    new_key: str | None,
    grace_s: float,
    settings: tuple[str, ...],
) -> int:
    """Answer OpenAI's API as a replica of SCENARIO would, as fast as it would.

    With --engine simulated no GPU is needed: batches, memory and adapters are decided on as in a
    simulation, and every token comes when it would. A stand-in for load tests of gateways and
    clients. Without a tokenizer, a token is a word of up to four letters or four letters of a
    longer one; answers are made-up words.

    With --engine embedded all is computed. A model that is a folder has its weights, tokenizer and
    chat template; others have random weights, and are told as words.

    SIGTERM or Ctrl-C lets requests under way end (--grace), and the exit code is 0; SIGTERM before
    the server is ready ends it with 143. Clients that connect before it is ready wait.
    """
    if new_key is not None:
        return _print_key(new_key)
    embedded = {"device": device, "registry": registry, "trusted": trusted}
    if engine == SIMULATED:
        for name, value in embedded.items():
            if value is not None:
                raise UserError(f"--{name}: belongs to --engine embedded")
    if trusted is not None and registry is None:
        raise UserError("--trusted: belongs to --registry")
    overrides = dict(map(parse_setting, settings))
    loaded = _load(scenario, overrides, _DEFAULT | (_SMALL if engine == EMBEDDED else {}))

    try:
        from simlora.serve import run
    except ModuleNotFoundError as error:
        raise UserError(
            f"serve needs the package {error.name}; pip install 'simlora[serve]'"
        ) from None
    if api_keys is None and not run.is_loopback(host):
        raise UserError(
            f"--host {host}: others could ask in anybody's name; give --api-keys FILE, or listen "
            "on 127.0.0.1"
        )

    def note(sentence: str) -> None:
        click.echo(f"note: {sentence}", err=True)

    # A port that is taken is told before the model is loaded, which may take a while.
    with run.ended_by_sigterm(), run.listen(host, port) as listener:
        try:
            service = _service(loaded, api_keys, embedded if engine == EMBEDDED else None, note)
        except UserError as error:
            if scenario is None:
                raise
            raise with_place(error, scenario, overrides) from None
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        click.echo(f"serving {loaded.name} at {url} (Ctrl-C ends it)", err=True)
        run.serve(service, listener, grace_s=grace_s, note=note)
    return 0


def _service(
    scenario: Scenario,
    api_keys: Path | None,
    embedded: dict[str, Any] | None,
    note: Callable[[str], None],
) -> Service:
    """The server for a scenario; `embedded` are the options of the embedded engine."""
    from simlora.scenario.deployment import expand
    from simlora.serve.keys import load_keys
    from simlora.serve.limits import one_engine, one_replica
    from simlora.serve.run import Service

    served, notes = one_replica(scenario) if embedded is None else one_engine(scenario)
    for sentence in notes:
        note(sentence)
    keys = None if api_keys is None else load_keys(api_keys, expand(served))
    if embedded is None:
        return Service(served, keys)
    from simlora.serve.embedded import EmbeddedReplica

    return Service(served, keys, replica=partial(EmbeddedReplica, note=note, **embedded))


def _load(path: Path | None, overrides: dict[str, Any], default: dict[str, Any]) -> Scenario:
    if path is not None:
        return load_scenario(path, overrides, option="--set ")
    return Scenario.model_validate(default).with_overrides(overrides)


def _print_key(tenant: str) -> int:
    from simlora.serve.keys import new_key

    key, hashed = new_key()
    click.echo(f"API key of {tenant}, told only once: {key}", err=True)
    click.echo(f'"{tenant}": "{hashed}"')
    return 0
